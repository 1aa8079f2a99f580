package cli

import (
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/userns"
	"github.com/strata-build/strata/internal/store"
)

// Nobody but root can give files to the owners that they have in images; any user can in a user name space. A command
// that may have to begins anew in one, as the same process, before it does anything. All others run as who calls them.

// makesTrees says whether a command may lay out layers, if it is given such flags.
func makesTrees(cmd *cobra.Command) bool {
	switch cmd.Name() {
	case "build", "bake":
		return !answersCall(cmd)
	case "run", "start", "pull", "load", "import", "worker", "b":
		return true
	}
	return false
}

// answersCall says that a build only looks at its Dockerfile.
func answersCall(cmd *cobra.Command) bool {
	if check := cmd.Flags().Lookup("check"); check != nil && check.Value.String() == "true" {
		return true
	}
	call := cmd.Flags().Lookup("call")
	return call != nil && call.Changed && call.Value.String() != "build"
}

// usesNoStore says whether a command has nothing to do with what the store holds.
func usesNoStore(cmd *cobra.Command) bool {
	switch cmd.Name() {
	case "login", "logout", "version", "completion", "help", "strata", "docker-cli-plugin-metadata":
		return true
	}
	return answersCall(cmd)
}

// enterNameSpace has a user who is not root, or a root who may not mount, go on in a user name space, where the command
// or the store takes one. It returns where there is none to be had: what needs one says so then.
func enterNameSpace(cmd *cobra.Command, _ []string) error {
	if !userns.Needed() || usesNoStore(cmd) {
		return nil
	}
	var found userns.Finding
	switch name := store.IdentityOf(store.DefaultRoot()); {
	case name != "" && name != "root":
		found = userns.FindKnown(name)
	case makesTrees(cmd):
		found = userns.Find()
	default:
		return nil
	}
	if err := found.Error(); err != nil {
		identity.Use(identity.Current().Without(err))
		return nil
	}
	if found.Rung == userns.Chroot { // where it is: layers stay tars, and steps get a root of plain files
		identity.Use(identity.Current().Without(found.Reason()))
		return nil
	}
	if err := store.CheckUser(store.DefaultRoot()); err != nil { // there, nobody would have a name
		return err
	}
	return userns.Enter(found.Ranges)
}
