package gorgonia

import (
	"fmt"
	"reflect"
	"unsafe"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// machine executes an expression graph.
type machine struct {
	vm     G.VM
	run1   func() error // executes the tape once on the calling goroutine
	leaves []*leaf
}

// leaf is an input of the expression graph. Its data are written before every
// run, because the tape may have overwritten them in the last one.
type leaf struct {
	node *G.Node
	data []float32
	fill func(dst []float32, b *batch)
}

// newMachine compiles the graph.
func newMachine(g *G.ExprGraph, leaves []*leaf) (m *machine, err error) {
	defer recovered(&err)
	prog, locations, err := G.Compile(g)
	if err != nil {
		return nil, err
	}
	vm := G.NewTapeMachine(g, G.WithPrecompiled(prog, locations))
	tape, err := instructions(prog)
	if err != nil {
		return nil, err
	}
	run := reflect.ValueOf(vm).MethodByName("Run")
	return &machine{vm: vm, leaves: leaves, run1: func() error {
		if e := run.Call([]reflect.Value{tape})[0]; !e.IsNil() {
			return e.Interface().(error)
		}
		return nil
	}}, nil
}

// instructions returns the tape of a compiled program: the argument of
// TapeMachine.Run, which the library exports without exporting what to give it.
// RunAll would execute the same on another goroutine, whose panics (the max-pool
// of a NaN is one) no caller can recover.
func instructions(prog any) (reflect.Value, error) {
	f := reflect.ValueOf(prog).Elem().FieldByName("instructions")
	if !f.IsValid() || f.Kind() != reflect.Slice {
		return reflect.Value{}, fmt.Errorf("this version of gorgonia.org/gorgonia has no tape of instructions in %T", prog)
	}
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), nil
}

// run binds all leaves to the batch and executes the graph once.
func (m *machine) run(b *batch) (err error) {
	defer recovered(&err)
	m.vm.Reset()
	for _, l := range m.leaves {
		l.fill(l.data, b)
		t := tensor.New(tensor.WithShape(l.node.Shape()...), tensor.WithBacking(l.data))
		if err := G.Let(l.node, t); err != nil {
			return err
		}
	}
	return m.run1()
}

// recovered turns a panic of the library into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("gorgonia: panic in the library: %v", p)
	}
}

// floats returns the content of a value read from a graph.
func floats(v G.Value) []float32 {
	switch x := v.Data().(type) {
	case []float32:
		return x
	case float32:
		return []float32{x}
	}
	panic(fmt.Sprintf("gorgonia: value is %T, not float32", v.Data()))
}
