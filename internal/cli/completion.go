package cli

import (
	"io"

	"github.com/spf13/cobra"
)

// completion is `strata completion SHELL`.
func (a *app) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Print the script with which a shell completes commands, flags and their values: images, steps, builds, and the stages,
build arguments and secrets of the Dockerfile. Images and builds are offered to who may read the store, which is root.

For bash, with the package bash-completion, in this shell and in new ones:
  source <(strata completion bash)
  strata completion bash >/usr/share/bash-completion/completions/strata

For zsh, in a directory of $fpath; compinit has to be on:
  strata completion zsh >/usr/local/share/zsh/site-functions/_strata

For fish, in this shell and in new ones:
  strata completion fish | source
  strata completion fish >~/.config/fish/completions/strata.fish`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeCompletion(a.stdout, cmd.Root(), args[0])
		},
	}
}

func writeCompletion(w io.Writer, root *cobra.Command, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	}
	return usageError("completion %s: there are completions for bash, zsh and fish", shell)
}
