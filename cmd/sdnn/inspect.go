package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sdnn/features"
)

type inspectOptions struct {
	verify bool
}

func newInspect(a *app) *cobra.Command {
	o := &inspectOptions{}
	cmd := newVerb(a, "inspect STORE", "Show what is in a store",
		`Show what is in a store: its dataset, classes, feature columns, and for each split its rows, shards and bytes.

With --verify every byte is read and compared with its checksum. Every damaged block is reported, and the exit status is
then 3.`,
		[]string{"sdnn inspect store", "sdnn inspect store --verify --json"},
		func(ctx context.Context, args []string) error { return runInspect(ctx, a, o, args[0]) })
	cmd.Args = takesArgs(1, 1, "STORE")
	cmd.Flags().BoolVar(&o.verify, "verify", false, "read every byte and compare it with its checksum")
	return cmd
}

// inspectResult is what inspect prints.
type inspectResult struct {
	Store         string                  `json:"store"`
	FormatVersion int                     `json:"format_version"`
	Dataset       string                  `json:"dataset"`
	Classes       int                     `json:"classes"`
	NamedClasses  int                     `json:"named_classes"`
	Columns       []features.Column       `json:"columns"`
	Splits        map[string]inspectSplit `json:"splits"`
	Verified      *inspectVerified        `json:"verified,omitempty"`
}

type inspectSplit struct {
	Rows   int64 `json:"rows"`
	Shards int   `json:"shards"`
	Bytes  int64 `json:"bytes"`
}

// inspectVerified is the outcome of --verify.
type inspectVerified struct {
	Files  int             `json:"files"`
	Bytes  int64           `json:"bytes"`
	Rows   int64           `json:"rows"`
	Damage []inspectDamage `json:"damage"`
	Unread int             `json:"unread_files"` // that are not known to be sound
}

type inspectDamage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
	Want   string `json:"expected"`
	Got    string `json:"found"`
}

func runInspect(ctx context.Context, a *app, o *inspectOptions, dir string) error {
	store, err := features.Open(dir)
	if err != nil {
		return err
	}
	r := describeStore(dir, store.Manifest())
	for _, name := range slices.Sorted(maps.Keys(r.Splits)) {
		// Opening a split finds shards that are missing or of another size.
		if _, err := store.Split(name); err != nil && !o.verify {
			return errors.Join(err, store.Close())
		}
	}
	if err := store.Close(); err != nil {
		return err
	}
	if o.verify {
		if err := verifyStore(ctx, a, dir, &r); err != nil {
			return err
		}
	}
	a.print.result(r)
	return nil
}

func describeStore(dir string, m *features.Manifest) inspectResult {
	r := inspectResult{Store: dir, FormatVersion: m.FormatVersion, Dataset: m.Dataset, Classes: m.Classes,
		NamedClasses: len(m.ClassNames), Columns: m.Columns, Splits: map[string]inspectSplit{}}
	for name, s := range m.Splits {
		split := inspectSplit{Rows: s.Rows, Shards: len(s.Shards)}
		for _, shard := range s.Shards {
			split.Bytes += shard.Bytes
		}
		r.Splits[name] = split
	}
	return r
}

// verifyStore fills r.Verified. With damage, or files that cannot be read, it prints r itself, and reports all of that but the error
// that it returns.
func verifyStore(ctx context.Context, a *app, dir string, r *inspectResult) error {
	p := a.newProgress("verifying", true)
	var report *features.Report
	err := unlessInterrupted(ctx, func() (err error) {
		report, err = features.Verify(dir, p.set)
		return err
	})
	p.end()
	if ctx.Err() != nil || report == nil || as[*features.ChangedError](err) {
		return err
	}
	r.Verified = &inspectVerified{Files: report.Files, Bytes: report.Bytes, Rows: report.Rows, Damage: []inspectDamage{}}
	for i, d := range report.Damage {
		r.Verified.Damage = append(r.Verified.Damage, inspectDamage{d.File, d.Offset, d.Bytes, d.Want, d.Got})
		if i > 0 {
			a.log.Error(d.Error())
		}
	}
	for _, e := range report.Unread {
		if e != err {
			a.log.Error(e.Error())
		}
	}
	if r.Verified.Unread = len(report.Unread); len(report.Damage)+len(report.Unread) > 0 {
		a.print.result(*r)
	}
	return err
}

func (r inspectResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %d classes", r.Store, r.Dataset, r.Classes)
	if r.NamedClasses > 0 {
		fmt.Fprint(w, " with names")
	}
	fmt.Fprintf(w, ", store format %d\n", r.FormatVersion)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Columns {
		fmt.Fprintf(t, "column %s\t%s\t%d wide\n", c.Name, c.Kind, c.Width)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Splits)) {
		s := r.Splits[name]
		fmt.Fprintf(t, "split %s\t%d rows\t%s\t%s\n", name, s.Rows, count(s.Shards, "shard"), size(s.Bytes))
	}
	t.Flush()
	if v := r.Verified; v != nil {
		fmt.Fprintf(w, "verified: %s, %s, %d rows, %s\n", count(v.Files, "file"), size(v.Bytes), v.Rows, count(len(v.Damage), "damaged block"))
		if v.Unread > 0 {
			fmt.Fprintf(w, "not verified: %s that cannot be read\n", count(v.Unread, "file"))
		}
	}
}

// count is "1 file" or "2 files".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1e4:
		return fmt.Sprintf("%d bytes", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e8:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
