//go:build !unix

package main

import "runtime"

// peakRSS returns about the most memory that the process has had, in bytes: what the Go runtime got from the system and did not
// give back.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
