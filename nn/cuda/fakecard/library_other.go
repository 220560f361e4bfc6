//go:build !((linux || darwin) && (amd64 || arm64))

package fakecard

import "errors"

const canLoad = false

type library struct{}

var errLibrary = errors.New("fakecard: libraries cannot be loaded on this system")

func openLibrary(string) (*library, error) { return nil, errLibrary }

func (*library) symbol(string) (uintptr, error) { return 0, errLibrary }

func (*library) launch(uintptr, []uint64, int, int, int, int) int { panic(errLibrary) }

func lockFile(string) (func(), error) { return nil, errLibrary }
