//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"cmp"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"sdnn/nn/cuda/driver"
)

// dnn calls a function of cuDNN.
//
//go:uintptrescapes
func (c *card) dnn(name string, fn uintptr, args ...uintptr) error {
	// The library's last message is kept for the thread that failed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := c.inContext(fn, args...)
	if err != nil {
		return err
	}
	return c.dnnFailure(name, r)
}

// dnnStep is dnn for the calls of a training step.
func (c *card) dnnStep(name string, fn uintptr, n int, args list) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := c.step(fn, n, args)
	if err != nil {
		return err
	}
	return c.dnnFailure(name, r)
}

// dnnFailure is the error of a call on this thread; nil if there is none.
func (c *card) dnnFailure(name string, r uintptr) error {
	if int32(r) == dnnSuccess {
		return nil
	}
	text, _, _ := purego.SyscallN(c.dnnAPI.cudnnGetErrorString, r)
	e := &driver.Error{Call: name, Code: int(int32(r)), Text: cmp.Or(goString(text), "unknown error")}
	detail := make([]byte, 512)
	_, _, _ = purego.SyscallN(c.dnnAPI.cudnnGetLastErrorString, uintptr(unsafe.Pointer(&detail[0])), uintptr(len(detail)))
	if s, _, _ := strings.Cut(string(detail), "\x00"); s != "" {
		e.Text += ": " + s
	}
	return e
}

// descriptor is a cudnnBackendDescriptor_t: attributes are set, finalize checks
// them, and from then on they are only read.
type descriptor uintptr

// descriptors are made together and destroyed together.
type descriptors struct {
	c    *card
	list []descriptor
}

// free destroys all, the last first.
func (ds *descriptors) free() error {
	var first error
	for i := len(ds.list) - 1; i >= 0; i-- {
		err := ds.c.dnn("cudnnBackendDestroyDescriptor", ds.c.dnnAPI.cudnnBackendDestroyDescriptor, uintptr(ds.list[i]))
		first = cmp.Or(first, err)
	}
	ds.list = nil
	return first
}

// create makes a descriptor, which free destroys.
func (ds *descriptors) create(kind uintptr) (descriptor, error) {
	d := new(descriptor)
	if err := ds.c.dnn("cudnnBackendCreateDescriptor", ds.c.dnnAPI.cudnnBackendCreateDescriptor, kind, uintptr(unsafe.Pointer(d))); err != nil {
		return 0, err
	}
	ds.list = append(ds.list, *d)
	return *d, nil
}

// attribute is one attribute's value: an array of C, of elements of a type.
type attribute struct {
	name, kind uintptr
	count      int
	values     unsafe.Pointer
}

// The types of attributes. The array is copied when the attribute is set.
func ints(name uintptr, v ...int64) attribute {
	return attribute{name, dnnTypeInt64, len(v), unsafe.Pointer(&v[0])}
}

func enum(name, kind uintptr, v int32) attribute { return attribute{name, kind, 1, unsafe.Pointer(&v)} }

func float(name uintptr, v float32) attribute {
	return attribute{name, dnnTypeFloat, 1, unsafe.Pointer(&v)}
}

func pointers(name uintptr, v ...driver.Ptr) attribute {
	return attribute{name, dnnTypePointer, len(v), unsafe.Pointer(&v[0])}
}

func refs(name uintptr, v ...descriptor) attribute {
	return attribute{name, dnnTypeDescriptor, len(v), unsafe.Pointer(&v[0])}
}

func (c *card) handle(name uintptr) attribute {
	return attribute{name, dnnTypeHandle, 1, unsafe.Pointer(&c.dnnHandle)}
}

// make makes a descriptor with these attributes and finalizes it.
func (ds *descriptors) make(kind uintptr, attributes ...attribute) (descriptor, error) {
	d, err := ds.create(kind)
	if err != nil {
		return 0, err
	}
	for _, a := range attributes {
		if err := ds.c.dnn("cudnnBackendSetAttribute", ds.c.dnnAPI.cudnnBackendSetAttribute, uintptr(d), a.name, a.kind, uintptr(a.count), uintptr(a.values)); err != nil {
			return 0, err
		}
	}
	return d, ds.c.dnn("cudnnBackendFinalize", ds.c.dnnAPI.cudnnBackendFinalize, uintptr(d))
}

// get reads an attribute into at most len elements at to, and returns how many there are.
func (c *card) get(d descriptor, name, kind uintptr, room int, to unsafe.Pointer) (int, error) {
	n := new(int64)
	err := c.dnn("cudnnBackendGetAttribute", c.dnnAPI.cudnnBackendGetAttribute, uintptr(d), name, kind, uintptr(room), uintptr(unsafe.Pointer(n)), uintptr(to))
	return int(*n), err
}
