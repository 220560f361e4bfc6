// Command sdnn trains and evaluates classifiers with the subclass deep neural network method, which repairs the classes that
// plain training neglects.
//
// This package owns flags, printing and exit statuses, and knows nothing of tensors. Each verb is a file: an options struct, a
// constructor that returns its *cobra.Command, and a run function. What they share is an app:
//
//	arguments ──cobra──> options ──run──> result ──printer──> stdout   text, or with --json one object a line, the result last
//	                                 │
//	                                 ├─ slog, progress bars ─────────> stderr   text, or JSON lines with --log-format json
//	                                 └─ error ──statusOf──────────────> exit status (the table in status.go)
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program but for os.Exit: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ignoreBrokenPipes()
	a := newApp(stdout, stderr)
	ctx, stop := a.watchSignals(context.Background())
	a.interrupted = ctx.Done()
	if wantsJSONLogs(args) {
		a.setLogs(slog.LevelInfo, true)
	}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	stop()
	if err != nil && !a.started {
		err = asUsage(root, cmd, err)
	}
	if err == nil {
		err = a.stdout.err
	}
	a.console.clear()
	if err == nil {
		return exitDone
	}
	status := statusOf(err)
	if status == exitInterrupted {
		a.log.Warn(err.Error())
	} else {
		a.log.Error(err.Error())
	}
	return status
}

// newRoot returns the command that has the verbs and the flags that they share.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sdnn",
		Short: "Train and evaluate classifiers that do not neglect classes",
		Long: `sdnn trains and evaluates classifiers on YouTube-8M features and small images with the subclass deep neural
network method: it finds the classes that plain training neglects, splits them into subclasses, and trains a network for those.

The way of the data: raw files --ingest--> store --train--> run --eval, predict--> metrics, predictions.`,
		Version:            version, // for --version; the verb tells more
		SilenceUsage:       true,
		SilenceErrors:      true,
		DisableSuggestions: true, // asUsage makes them
		PersistentPreRunE:  func(*cobra.Command, []string) error { return a.start() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("a verb is missing; it is one of %s", strings.Join(verbNames(cmd.Root()), ", "))
		},
	}
	f := root.PersistentFlags()
	f.IntVar(&a.threads, "threads", 0, "processor threads to use (0: all); results do not depend on it")
	f.Uint64Var(&a.seed, "seed", 1, "seed of everything random")
	f.BoolVar(&a.json, "json", false, "print results as JSON, one object a line, the result last")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress, only warnings and errors")
	f.StringVar(&a.logFormat, "log-format", "text", "form of logs on standard error: text or json")
	root.Flags().Bool("version", false, "print the version alone")
	root.SetVersionTemplate("sdnn {{.Version}}\n")
	root.SetHelpTemplate(helpTemplate + "\n" + statusHelp())
	root.SetUsageTemplate(usageTemplate)
	cobra.AddTemplateFunc("wrapped", wrappedFlags)
	cobra.EnableCommandSorting = false // --help lists the verbs in the order of use
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newIngest(a), newInspect(a), newSynth(a), newTrain(a), newEval(a), newPredict(a), newBench(a), newVersion(a))
	return root
}

// verbNames lists the verbs as they are declared.
func verbNames(root *cobra.Command) []string {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}{{end}}

{{.UsageString}}`

const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} VERB [flags]{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- if .HasAvailableSubCommands}}

Verbs:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{wrapped .LocalFlags}}
{{- end}}
{{- if .HasAvailableInheritedFlags}}

Flags of every verb:
{{wrapped .InheritedFlags}}
{{- end}}
`

// asUsage makes an error of cobra's, which stopped before a verb ran, a usage error that says what was probably meant.
func asUsage(root, cmd *cobra.Command, err error) error {
	var typed string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q", &typed); n == 1 {
		err = fmt.Errorf("unknown verb %q%s", typed, didYouMean(typed, verbNames(root)))
	} else {
		err = explainFlag(cmd, err)
	}
	return usagef("%w; see %s --help", err, cmd.CommandPath())
}
