package kernels

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
)

// code is what a cubin says of a kernel.
type code struct {
	name      string
	registers int
	stack     int   // bytes of local memory a thread: spills, and arrays that are not in registers
	shared    int   // bytes of static shared memory; from 9.0 on with the 1024 that belong to the system
	threads   int   // most of a block
	params    []int // offset and size of each parameter, alternately
	bytes     int   // of all parameters
	text      []byte
}

// The attributes of a cubin's .nv.info sections, in the order of cuobjdump's names for them.
const (
	cubinMaxThreads = 0x05 // EIATTR_MAX_THREADS
	cubinFrameSize  = 0x11 // EIATTR_FRAME_SIZE
	cubinParamInfo  = 0x17 // EIATTR_KPARAM_INFO
	cubinParamSize  = 0x19 // EIATTR_CBANK_PARAM_SIZE
	cubinRegisters  = 0x2f // EIATTR_REGCOUNT
	cubinSized      = 4    // EIFMT_SVAL: the 16 bits are the length of what follows
)

// cubin reads the kernels of machine code: an ELF file, for machine 190.
func cubin(b []byte) (map[string]*code, error) {
	if len(b) < 64 {
		return nil, fmt.Errorf("%d bytes are no ELF file", len(b))
	}
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[20:], 1) // the file's version, where NVIDIA has that of CUDA
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if f.Machine != 190 {
		return nil, fmt.Errorf("an ELF file for machine %d", f.Machine)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	all := map[string]*code{}
	for _, s := range f.Sections {
		if name, ok := strings.CutPrefix(s.Name, ".text."); ok {
			k := &code{name: name}
			if k.text, err = s.Data(); err != nil {
				return nil, err
			}
			all[name] = k
		}
	}
	for _, s := range f.Sections {
		if name, ok := strings.CutPrefix(s.Name, ".nv.shared."); ok && all[name] != nil {
			all[name].shared = int(s.Size)
		}
		name, ok := strings.CutPrefix(s.Name, ".nv.info")
		if !ok {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return nil, err
		}
		of := all[strings.TrimPrefix(name, ".")]
		attributes(data, func(kind int, value int, v []byte) {
			if of != nil {
				of.own(kind, value, v)
			} else if len(v) == 8 { // the module's: a symbol and its number
				symbol, n := binary.LittleEndian.Uint32(v), int(binary.LittleEndian.Uint32(v[4:]))
				if symbol == 0 || int(symbol) > len(symbols) {
					return
				}
				switch k := all[symbols[symbol-1].Name]; { // Symbols leaves out the first
				case k == nil:
				case kind == cubinRegisters:
					k.registers = n
				case kind == cubinFrameSize:
					k.stack = n
				}
			}
		})
	}
	return all, nil
}

// attributes walks through a .nv.info section; value is that of a short one, v
// that of a long one.
func attributes(data []byte, f func(kind, value int, v []byte)) {
	for len(data) >= 4 {
		n := int(binary.LittleEndian.Uint16(data[2:]))
		long := 0
		if data[0] == cubinSized {
			long = min(n, len(data)-4)
		}
		f(int(data[1]), n, data[4:4+long])
		data = data[4+long:]
	}
}

// own takes an attribute of the kernel's own section.
func (k *code) own(kind, value int, v []byte) {
	switch {
	case kind == cubinMaxThreads && len(v) == 12:
		k.threads = int(binary.LittleEndian.Uint32(v))
	case kind == cubinParamSize:
		k.bytes = value
	case kind == cubinParamInfo && len(v) == 12: // index, ordinal and offset, flags with the size from bit 18 on
		at := 2 * int(binary.LittleEndian.Uint16(v[4:]))
		for len(k.params) < at+2 {
			k.params = append(k.params, 0)
		}
		k.params[at], k.params[at+1] = int(binary.LittleEndian.Uint16(v[6:])), int(binary.LittleEndian.Uint32(v[8:])>>18)
	}
}

// layout is what the parameters' offsets and sizes are by the declaration.
func (s *Signature) layout() (params []int, bytes int) {
	for _, p := range s.Params {
		size := 4
		if p.Kind == 0 || p.Type == "u64" {
			size = 8
		}
		bytes = over(bytes, size) * size
		params = append(params, bytes, size)
		bytes += size
	}
	return params, bytes
}

// multiprocessor is what the blocks on a multiprocessor share.
type multiprocessor struct{ warps, shared, reserved int }

// multiprocessors by compute capability: NVIDIA's table of technical
// specifications (CUDA C++ Programming Guide). All have 65536 registers; shared
// is in bytes, reserved what each block loses beyond what the cubin says.
var multiprocessors = map[int]multiprocessor{
	70: {64, 96 << 10, 0}, 75: {32, 64 << 10, 0}, 80: {64, 164 << 10, 1024}, 86: {48, 100 << 10, 1024}, 89: {48, 100 << 10, 1024}, 90: {64, 228 << 10, 0},
}

// occupancy is the share of a multiprocessor's warps that can be there at once,
// in percent.
func (k *code) occupancy(capability int) int {
	m, warps := multiprocessors[capability], Threads/32
	// Registers are given to a warp by 256.
	blocks := min(m.warps/warps, 65536/(over(max(k.registers, 1)*32, 256)*256)/warps)
	if per := k.shared + m.reserved; k.shared > 0 {
		blocks = min(blocks, m.shared/per)
	}
	return 100 * blocks * warps / m.warps
}

// Machine instructions are 16 bytes from compute capability 7.0 on; the low 9
// bits say what it does, and of loads and stores three bits the width.
const (
	opLoad, opStore             = 0x180, 0x185 // where the compiler does not know the space
	opLoadGlobal, opStoreGlobal = 0x181, 0x186
	wide64, wide128             = 5, 6
)

// count counts instructions of an operation and width.
func (k *code) count(operation uint16, width byte) int {
	n := 0
	for at := 0; at+16 <= len(k.text); at += 16 {
		if binary.LittleEndian.Uint16(k.text[at:])&0x1ff == operation && k.text[at+9]>>1&7 == width {
			n++
		}
	}
	return n
}
