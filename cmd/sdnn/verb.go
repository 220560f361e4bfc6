package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// newVerb returns the command of a verb without arguments. examples are whole command lines.
func newVerb(a *app, use, short, long string, examples []string, run func(ctx context.Context, args []string) error) *cobra.Command {
	example := ""
	for i, e := range examples {
		if i > 0 {
			example += "\n"
		}
		example += "  " + e
	}
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: example,
		Args:    takesArgs(0, 0, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = true
			return run(cmd.Context(), args)
		},
	}
	cmd.Flags().SortFlags = false // --help shows them in the order of their declaration
	return cmd
}

// takesArgs checks that a verb has at least least and at most most arguments (negative: any number); what names them.
func takesArgs(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s is missing", what)
		case most >= 0 && len(args) > most:
			return fmt.Errorf("unexpected argument %q", args[most])
		}
		return nil
	}
}

// require names the flags without which the verb cannot run.
func require(cmd *cobra.Command, flags ...string) {
	cmd.PreRunE = func(*cobra.Command, []string) error {
		for _, f := range flags {
			if cmd.Flags().Lookup(f).Value.String() == "" {
				return fmt.Errorf("--%s is missing", f)
			}
		}
		return nil
	}
}
