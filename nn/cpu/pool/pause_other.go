//go:build !amd64 && !arm64

package pool

// pause is nothing where there is no spin-wait hint to give.
func pause(uint32) {}
