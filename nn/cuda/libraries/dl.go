//go:build linux && (amd64 || arm64) && !nocuda

package libraries

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is an opened shared library. It stays loaded: what it started on the
// card, and threads of its own, do not survive being unloaded.
type library struct {
	name   string // "libcudnn.so.9"
	dir    string // "" if the loader found it
	handle uintptr
}

// dlopen loads a file, or finds one if path has no slash.
func dlopen(path string, visible bool) (uintptr, error) {
	mode := purego.RTLD_LAZY | purego.RTLD_LOCAL
	if visible {
		mode = purego.RTLD_LAZY | purego.RTLD_GLOBAL
	}
	// The loader keeps its message for the thread that failed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return purego.Dlopen(path, mode)
}

// bind sets the fields of api, a pointer to a struct of uintptr, to the
// addresses of the functions they are named after, or that their tag c names.
func (l *library) bind(api any) error {
	v := reflect.ValueOf(api).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Name
		if c := field.Tag.Get("c"); c != "" {
			name = c
		}
		address, err := l.symbol(name)
		if err != nil {
			return err
		}
		*(*uintptr)(v.Field(i).Addr().UnsafePointer()) = address
	}
	return nil
}

func (l *library) symbol(name string) (uintptr, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	address, err := purego.Dlsym(l.handle, name)
	if err != nil {
		return 0, &UnfitError{What: fmt.Sprintf("%s has no function %s: it is too old, or not what its name says", l.where(), name), Install: "install a newer version"}
	}
	return address, nil
}

// where names the library for people.
func (l *library) where() string {
	if l.dir == "" {
		return l.name
	}
	return filepath.Join(l.dir, l.name)
}

// file returns the path of the file that was loaded, as the kernel knows it, or
// "" if that cannot be told.
func (l *library) file() string {
	if l.dir != "" {
		return l.where()
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if i := strings.IndexByte(lines.Text(), '/'); i >= 0 {
			path := lines.Text()[i:]
			if strings.HasPrefix(filepath.Base(path), l.name) {
				return path
			}
		}
	}
	return ""
}

// goString copies a C string.
func goString(p uintptr) string {
	if p == 0 {
		return ""
	}
	base := *(**byte)(unsafe.Pointer(&p))
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(base), n)) != 0 {
		n++
	}
	return strings.Clone(unsafe.String(base, n))
}

// cString returns s with the 0 that ends it in C.
func cString(s string) []byte { return append([]byte(s), 0) }
