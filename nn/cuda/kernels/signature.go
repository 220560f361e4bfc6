package kernels

import (
	"fmt"
	"regexp"
	"strings"

	"sdnn/nn/cuda/driver"
)

// Param is a parameter of a kernel.
type Param struct {
	Name     string
	Type     string // as declared, without const and without the star: "bf16", "int"
	Kind     driver.ArgKind
	Const    bool // a pointer that is only read
	Nullable bool
	// Size is the number of bytes of what a pointer points to.
	Size int
	// extent is the number of elements behind a pointer, nil if the arguments do
	// not tell; moved those that the kernel moves, if it says so apart.
	extent, moved expr
}

// Signature is the declaration of a kernel in its source.
type Signature struct {
	Name   string
	Source string // the file, for messages
	Params []Param
}

var (
	declaration = regexp.MustCompile(`(?m)^(?:KERNEL3?|extern "C" __global__ void(?: __launch_bounds__\(\d+\))?) (\w+)\(([^)]*)\)`)
	parameter   = regexp.MustCompile(`^(const )?([a-z_0-9]+(?: [a-z]+)*) (\*?)([a-z]\w*)$`)
	annotation  = regexp.MustCompile(`(\w+)(\??)\[([^\]]*)\](?:~(\S+))?`)
)

// pointees are the types behind pointers with their sizes, and values those of
// plain arguments.
var (
	pointees = map[string]int{"float": 4, "double": 8, "int": 4, "u8": 1, "bf16": 2, "u32": 4, "u64": 8,
		"unsigned char": 1, "unsigned short": 2, "unsigned int": 4, "unsigned long long": 8}
	values = map[string]driver.ArgKind{"int": driver.ArgI32, "float": driver.ArgF32, "u32": driver.ArgU32, "u64": driver.ArgU64,
		"unsigned int": driver.ArgU32, "unsigned long long": driver.ArgU64}
)

// Parse finds the kernels of a source:
//
//	//@ y[n] x[n]
//	KERNEL relu_forward_f32(float *y, const float *x, u64 n)
//
// (KERNEL and KERNEL3 stand for extern "C" __global__ void.) The lines that begin with //@
// hold for the declarations up to the next such line that follows a declaration.
// They give the number of elements behind each pointer in terms of the other
// arguments; ? marks one that may be null, [] one whose extent is not known, ~
// the number of elements that are moved where it is another.
func Parse(source string) ([]*Signature, error) {
	var list []*Signature
	notes, fresh := "", false
	for line := range strings.Lines(source) {
		if note, ok := strings.CutPrefix(line, "//@"); ok {
			if !fresh {
				notes = ""
			}
			notes, fresh = notes+note, true
			continue
		}
		m := declaration.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		fresh = false
		s, err := newSignature(m[1], m[2], notes)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func newSignature(name, params, notes string) (*Signature, error) {
	s := &Signature{Name: name}
	for text := range strings.SplitSeq(params, ",") {
		m := parameter.FindStringSubmatch(strings.TrimSpace(text))
		if m == nil {
			return nil, fmt.Errorf("kernel %s: cannot read the parameter %q", name, text)
		}
		p := Param{Name: m[4], Type: m[2], Const: m[1] != ""}
		var ok bool
		if m[3] != "" {
			p.Size, ok = pointees[p.Type]
		} else {
			p.Kind, ok = values[p.Type]
			ok = ok && !p.Const
		}
		if !ok {
			return nil, fmt.Errorf("kernel %s: the type of %q is not one of ours", name, text)
		}
		s.Params = append(s.Params, p)
	}
	return s, s.annotate(notes)
}

func (s *Signature) annotate(notes string) error {
	for _, m := range annotation.FindAllStringSubmatch(notes, -1) {
		i := s.index(m[1])
		if i < 0 || s.Params[i].Kind != driver.ArgPtr {
			return fmt.Errorf("kernel %s: no pointer is called %s", s.Name, m[1])
		}
		p := &s.Params[i]
		p.Nullable = m[2] != ""
		var err error
		if m[3] != "" {
			if p.extent, err = s.expression(m[3]); err != nil {
				return err
			}
		}
		if m[4] != "" {
			if p.moved, err = s.expression(m[4]); err != nil {
				return err
			}
		}
	}
	return nil
}

// index returns the position of a parameter, -1 if there is none.
func (s *Signature) index(name string) int {
	for i := range s.Params {
		if s.Params[i].Name == name {
			return i
		}
	}
	return -1
}

// Kinds returns the kinds of the parameters.
func (s *Signature) Kinds() []driver.ArgKind {
	kinds := make([]driver.ArgKind, len(s.Params))
	for i, p := range s.Params {
		kinds[i] = p.Kind
	}
	return kinds
}

// Check says what is wrong with the arguments of a launch: their number, a
// kind, a pointer that is null and must not be.
func (s *Signature) Check(args []driver.Arg) error {
	if len(args) != len(s.Params) {
		return fmt.Errorf("%s takes %d arguments, not %d", s.Name, len(s.Params), len(args))
	}
	for i, p := range s.Params {
		if args[i].Kind != p.Kind {
			return fmt.Errorf("%s: argument %d (%s) is of kind %d, not %d", s.Name, i, p.Name, args[i].Kind, p.Kind)
		}
		if p.Kind == driver.ArgPtr && args[i].Bits == 0 && !p.Nullable {
			return fmt.Errorf("%s: argument %d (%s) is null", s.Name, i, p.Name)
		}
	}
	return nil
}

// Extent returns the number of bytes behind the pointer that is argument i;
// known is false where the arguments do not tell, or the pointer is null.
func (s *Signature) Extent(i int, args []driver.Arg) (bytes int, known bool) {
	p := &s.Params[i]
	if p.Kind != driver.ArgPtr || p.extent == nil || args[i].Bits == 0 {
		return 0, false
	}
	return p.extent(args) * p.Size, true
}

// Bytes returns the bytes that a launch moves at least: each operand once. Over
// the card's bandwidth it is the floor of its time. What is behind table of the
// optimisers is not counted, see OptimizerBytes.
func (s *Signature) Bytes(args []driver.Arg) float64 {
	sum := 0
	for i := range s.Params {
		p := &s.Params[i]
		if p.Kind != driver.ArgPtr || args[i].Bits == 0 {
			continue
		}
		if n := p.moved; n != nil {
			sum += n(args) * p.Size
		} else if p.extent != nil {
			sum += p.extent(args) * p.Size
		}
	}
	return float64(sum)
}
