package cpu

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// The names of whose memory is meant, for messages.
const (
	ofMachine = "this machine's memory"
	ofGroup   = "the memory that this container, or control group, may take"
)

// availableMemory returns the number of bytes that the process can still take
// and whose they are. Of is empty where that is not known: outside of Linux.
func availableMemory() (bytes int, of string) {
	if runtime.GOOS != "linux" {
		return 0, ""
	}
	return availableIn(os.DirFS("/"))
}

// availableIn is availableMemory of a Linux file system: what the kernel thinks
// can be taken without swapping, and what of the swap space is free, or less,
// if a control group (version 1 or 2) that the process is in has a lower limit.
func availableIn(root fs.FS) (free int, of string) {
	machine := fields(root, "proc/meminfo")
	available, ok := machine["MemAvailable:"]
	if !ok {
		return 0, ""
	}
	swap := machine["SwapFree:"] << 10
	free, of = available<<10+swap, ofMachine
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return free, of
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(part) != 3 {
			continue
		}
		read, mount := groupV2, "sys/fs/cgroup"
		switch {
		case strings.Contains(","+part[1]+",", ",memory,"):
			read, mount = groupV1, "sys/fs/cgroup/memory"
		case part[1] != "":
			continue
		}
		// A limit holds for all groups below. In a container the path may be
		// that of the host: then the container's own group is the root here.
		for dir := path.Join(mount, path.Join("/", part[2])); strings.HasPrefix(dir, mount); dir = path.Dir(dir) {
			if left := read(root, dir, swap); left < free {
				free, of = left, ofGroup
			}
		}
	}
	return free, of
}

// groupV2 returns what a control group of version 2 leaves; swap is the
// machine's free swap space.
func groupV2(root fs.FS, dir string, swap int) int {
	limit, limited := number(root, dir+"/memory.max")
	used, known := number(root, dir+"/memory.current")
	if !limited || !known {
		return math.MaxInt
	}
	if most, limited := number(root, dir+"/memory.swap.max"); limited {
		swapped, _ := number(root, dir+"/memory.swap.current")
		swap = min(swap, max(0, most-swapped))
	}
	stat := fields(root, dir+"/memory.stat")
	return plus(left(limit, used, stat["inactive_file"]+stat["active_file"]+stat["slab_reclaimable"]), swap)
}

// groupV1 is groupV2 for version 1, which limits memory and swap together.
func groupV1(root fs.FS, dir string, swap int) int {
	limit, limited := number(root, dir+"/memory.limit_in_bytes")
	used, known := number(root, dir+"/memory.usage_in_bytes")
	if !limited || !known {
		return math.MaxInt
	}
	stat := fields(root, dir+"/memory.stat")
	if both, limited := number(root, dir+"/memory.memsw.limit_in_bytes"); limited {
		taken, _ := number(root, dir+"/memory.memsw.usage_in_bytes")
		swap = min(swap, max(0, both-limit-max(0, taken-used)))
	}
	return plus(left(limit, used, stat["total_inactive_file"]+stat["total_active_file"]), swap)
}

// left is what a limit leaves when the cache among what is used can go. The
// counters are not of one moment: the cache may be more than all that is used,
// and version 1 says that there is no limit by one near the largest number.
func left(limit, used, cache int) int { return max(0, limit-max(0, used-cache)) }

// plus is a + b, or the largest number where that is less. Neither is negative.
func plus(a, b int) int { return a + min(b, math.MaxInt-a) }

// number reads a file that holds a number. "max", and what is no number, is none.
func number(root fs.FS, name string) (n int, ok bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(string(bytes.TrimSpace(text)))
	return n, err == nil
}

// fields reads a file of lines that begin with a name and a number.
func fields(root fs.FS, name string) map[string]int {
	m := map[string]int{}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return m
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) >= 2 {
			if n, err := strconv.Atoi(f[1]); err == nil {
				m[f[0]] = n
			}
		}
	}
	return m
}
