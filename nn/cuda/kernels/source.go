package kernels

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

//go:embed *.cu common.cuh
var files embed.FS

// Source is a translation unit: what NVRTC compiles into one module.
type Source struct {
	Name string // "batchnorm.cu"
	Text string // with what all sources begin with
}

// Sources lists the sources in alphabetical order.
func Sources() []Source { return sources() }

var sources = sync.OnceValue(func() []Source {
	common := read("common.cuh")
	names, err := fs.Glob(files, "*.cu")
	if err != nil {
		panic("kernels: " + err.Error())
	}
	var list []Source
	for _, name := range names {
		text := fmt.Sprintf("#line 1 \"common.cuh\"\n%s#line 1 %q\n%s", common, name, read(name))
		list = append(list, Source{name, text})
	}
	return list
})

func read(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic("kernels: " + err.Error())
	}
	return string(b)
}

// Lookup returns the declaration of a kernel.
func Lookup(name string) (*Signature, bool) {
	s, ok := declared()[name]
	return s, ok
}

// declared holds the kernels of all sources by name.
var declared = sync.OnceValue(func() map[string]*Signature {
	all := map[string]*Signature{}
	for _, src := range Sources() {
		list, err := Parse(src.Text)
		if err != nil {
			panic(fmt.Sprintf("kernels: %s: %v", src.Name, err))
		}
		for _, s := range list {
			if all[s.Name] != nil {
				panic("kernels: two kernels are called " + s.Name)
			}
			s.Source = src.Name
			all[s.Name] = s
		}
	}
	return all
})

// base is a kernel's name without its types: relu_forward of relu_forward_bf16.
func base(name string) string {
	for {
		i := strings.LastIndexByte(name, '_')
		if i < 0 || name[i+1:] != "f32" && name[i+1:] != "bf16" && name[i+1:] != "f64" {
			return name
		}
		name = name[:i]
	}
}
