package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cuda/libraries"
)

var update = flag.Bool("update", false, "rewrite the golden output in testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sdnn": func() {
			setFault(os.Getenv("SDNN_TEST_FAULT"))
			main()
		},
	})
}

// setFault makes the program send itself a signal in the middle of its work: fault is "SIGNAL WHAT DONE", e.g. "kill stage 3 96":
// the first time that the progress of "stage 3" reaches 96. Nothing depends on timing then.
func setFault(fault string) {
	if fault == "" {
		return
	}
	name, where, _ := strings.Cut(fault, " ")
	i := strings.LastIndexByte(where, ' ')
	at, err := strconv.ParseInt(where[i+1:], 10, 64)
	if err != nil {
		panic(err)
	}
	sig := map[string]os.Signal{"kill": os.Kill, "interrupt": os.Interrupt}[name]
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	sent := false
	progressHook = func(what string, done int64, interrupted <-chan struct{}) {
		if what != where[:i] || done < at || sent {
			return
		}
		sent = true
		if err := self.Signal(sig); err != nil {
			panic(err)
		}
		<-interrupted // of kill, never: it arrives while this waits
	}
}

func TestScripts(t *testing.T) {
	raw, err := filepath.Abs(filepath.Join("..", "..", "testdata", "raw"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("RAW", raw)
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "bf16":
				return kernel.BF16Err() == nil, nil
			case "root": // may write where others may not
				return os.Geteuid() == 0, nil
			case "gpu":
				return len(libraries.Survey().Cards) > 0, nil
			case "cuda": // the program could use a card
				_, without := errors.AsType[*libraries.SystemError](libraries.Survey().Missing)
				return !without, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": cmdStatus,
			"keys":   cmdKeys,
			"flip":   cmdFlip,
			"cut":    cmdCut,
			"same":   cmdSame,
			"mask":   cmdMask,
		},
	})
}

// cmdStatus is "status N COMMAND ARG...": the command's exit status must be N. Its output can be looked at afterwards.
func cmdStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	if out := ts.ReadFile("stderr"); strings.Contains(out, "panic:") || strings.Contains(out, "goroutine ") {
		ts.Fatalf("a panic was printed")
	}
}

// cmdKeys is "keys KEY[=VALUE]...": every line of the last command's stdout must be a JSON object, and the last line's must have the
// keys, with the values (JSON; strings also without quotes). A dot goes into an object: splits.train.rows.
func cmdKeys(ts *testscript.TestScript, neg bool, args []string) {
	var object map[string]any
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		object = nil
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
	}
	for _, arg := range args {
		path, want, compare := strings.Cut(arg, "=")
		var at any = object
		found := true
		for key := range strings.SplitSeq(path, ".") {
			m, ok := at.(map[string]any)
			if at, found = m[key]; !ok || !found {
				found = false
				break
			}
		}
		if found == neg {
			ts.Fatalf("key %s: found %v", path, found)
		}
		if !found || !compare {
			continue
		}
		got, err := json.Marshal(at)
		ts.Check(err)
		if string(got) != want && string(got) != strconv.Quote(want) {
			ts.Fatalf("%s is %s, want %s", path, got, want)
		}
	}
}

// cmdFlip is "flip FILE OFFSET": it flips a bit of a byte; a negative offset counts from the end.
func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 1
	ts.Check(os.WriteFile(file, data, 0o666))
}

// cmdCut is "cut FILE SIZE": it cuts a file to a number of bytes.
func cmdCut(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// cmdSame is "same FILE FILE KEY...": the keys of the JSON objects in both files must have equal values.
func cmdSame(ts *testscript.TestScript, _ bool, args []string) {
	var a, b map[string]json.RawMessage
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &a))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &b))
	for _, key := range args[2:] {
		if string(a[key]) != string(b[key]) || a[key] == nil {
			ts.Fatalf("%s is %s in %s, %s in %s", key, a[key], args[0], b[key], args[1])
		}
	}
}

// figures are numbers that are no part of a name.
var figures = regexp.MustCompile(`-?\b\d+(\.\d+)?(e[+-]?\d+)?\b`)

// cmdMask is "mask FILE": it writes the last command's stdout to FILE with every number replaced by N and without padding.
func cmdMask(ts *testscript.TestScript, _ bool, args []string) {
	var masked strings.Builder
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		masked.WriteString(strings.Join(strings.Fields(figures.ReplaceAllString(line, "N")), " ") + "\n")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(masked.String()), 0o666))
}
