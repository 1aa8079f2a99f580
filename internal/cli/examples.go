package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples are what --help and the man pages show of each command, by its path: a line that says what for, in "#", and
// the command below it. A test parses them.
var examples = map[string]string{
	"": `
# Build the directory, look at what the steps made, and enter one of them
strata build -t me/app .
strata log me/app
strata run -it me/app sh

# Find out why steps ran again
strata explain`,

	"worker": `
# Take steps from a queue; builds say strata build --queue nats://queue.example:4222
strata worker --queue nats://queue.example:4222 --cache type=s3,bucket=cache`,

	"build": `
# Build the Dockerfile of this directory, and name the image
strata build -t me/app:1 .

# Another file, a stage, a build argument and a secret
strata build -f docker/app.Dockerfile --target test --build-arg VERSION=1.2 --secret id=npm,src=.npmrc .

# For two platforms, pushed to a registry that keeps the cache too
strata build --platform linux/amd64,linux/arm64 -t registry.example/me/app --push --cache-to type=registry,ref=registry.example/me/cache,mode=max .

# The files of a stage in a directory, without an image
strata build --target artifacts -o out .

# A git repository, or a tar on standard input
strata build -t me/app https://git.example/me/app.git#main
tar c . | strata build -t me/app -

# Check the Dockerfile, and build nothing
strata build --check .`,

	"bake": `
# The targets of group default, of docker-bake.hcl or compose.yaml here
strata bake

# What a target would be built with; two targets with another argument
strata bake --print app
strata bake --set '*.args.VERSION=2' app test

# The definition of a git repository
strata bake https://git.example/me/app.git binaries`,

	"compose build": `
strata compose build

# A service of two files, pushed
strata compose -f compose.yaml -f compose.ci.yaml build --push web`,

	"explain": `
# The last build
strata explain

# The build of an image, and one of its steps in full
strata explain me/app
strata explain --step build:4 me/app`,

	"builds": `
# The last builds, and all of them
strata builds
strata builds --all

# For scripts
strata builds --format json
strata builds --format '{{.ID}} {{.Took}} {{.Hits}}'`,

	"builds logs": `
# What the steps of the last build of this directory printed, also of one that failed
strata builds logs

# One step of the build of an image
strata builds logs --step 4 me/app`,

	"builds show": `
# The steps of the build of an image, their times and layers
strata builds show me/app
strata builds show --json me/app`,

	"builder prune": `
# Remove the cache that no image has, without being asked
strata builder prune -f

# All of it; or only what is older than a week; or until it takes no more than 10 GB
strata builder prune -af
strata builder prune -f --filter until=168h
strata builder prune -f --keep-storage 10GB`,

	"cache ls": `
# The steps that a bucket has, with the sizes of their layers
strata cache ls type=s3,bucket=ci-cache,region=eu-central-1`,

	"cache verify": `
# Whether all records and layers are whole, by reading them
strata cache verify --read-data type=s3,bucket=ci-cache`,

	"cache prune": `
# Remove what no build has written for a week; first see what that is
strata cache prune --filter until=7d --dry-run type=s3,bucket=ci-cache
strata cache prune --filter until=7d type=s3,bucket=ci-cache`,

	"explore": `
# Browse layers and files
strata explore me/app

# Fail if more than 20 MB are wasted, for CI
strata explore --ci --highestWastedBytes 20MB me/app`,

	"page": `
# An image in the browser: its layers, files, packages and builds
strata page me/app

# All images and builds of the store, which can be named, removed and forgotten there
strata page
strata page --allow-changes

# One file that a pipeline keeps
strata page -o image.html registry.example/me/app:1`,

	"log": `
# The layers of an image, newest first
strata log me/app

# An image in a registry: no layer is downloaded
strata log --oneline registry.example/me/app:1

# Where the layers come from
strata log --graph me/app`,

	"show": `
# What the last step of an image changed
strata show me/app

# A file as it is in the image
strata show me/app:/etc/passwd`,

	"diff": `
# What a new version of an image changes
strata diff me/app:1 me/app:2

# Which known vulnerabilities come and go with it
strata diff --vulnerabilities me/app:1 me/app:2

# Only below a directory, as a patch
strata diff -p me/app:1 me/app:2 -- /etc`,

	"blame": `
# Which instruction a file comes from
strata blame me/app /usr/bin/python3`,

	"du": `
# What is large, and what is wasted
strata du me/app
strata du -d 2 me/app /usr`,

	"history": `
# The rows of an image, each with an ID that run takes
strata history me/app

# As docker prints it; as a Dockerfile
strata history --docker --no-trunc me/app
strata history --dockerfile me/app`,

	"inputs": `
# Which copied files each RUN read, and which none of them did
strata inputs me/app`,

	"packages": `
# The packages of an image, and those that its own layers brought
strata packages me/app
strata packages --filter base=false me/app

# What each layer added, upgraded and removed
strata packages --changes me/app

# A bill of materials
strata packages --format spdx me/app > sbom.spdx.json

# What syft finds, if it is installed
strata packages --with syft me/app`,

	"scan": `
# What is known to be vulnerable, and which instruction to change
strata scan me/app

# In CI: fail for what the image's own layers brought
strata scan --fail-on high --filter base=false --ignore-file ignore.yaml me/app

# By grype's advisories, if it is installed
strata scan --with grype me/app`,

	"vulndb ls": `
# What is known, and how old it is
strata vulndb ls`,

	"vulndb import": `
# A file that was brought to a machine without a network
strata vulndb import PyPI.zip

# Debian's own tracker
strata vulndb import https://security-tracker.debian.org/tracker/data/json`,

	"vulndb update": `
# OSV's advisories for two ecosystems; later, all that came from a URL again
strata vulndb update Debian PyPI
strata vulndb update`,

	"vulndb rm": `
strata vulndb rm 'OSV PyPI'`,

	"inspect": `
strata inspect me/app
strata inspect --format '{{json .Config.Env}}' me/app`,

	"run": `
# Enter an image; nothing that is changed is kept
strata run -it me/app sh

# Enter the image as it was after a step, with a directory of this machine
strata run -it -v .:/src 3f2a9c81d07b sh

# A command on files, as this user
strata run --rm -v .:/work -w /work -u 1000 me/app make`,

	"pull": `
strata pull debian:12
strata pull --platform linux/arm64 debian:12`,

	"push": `
strata push registry.example/me/app:1

# All tags of the repository
strata push --all-tags registry.example/me/app`,

	"login": `
strata login registry.example
strata login -u me --password-stdin registry.example <token`,

	"logout": `
strata logout registry.example`,

	"save": `
# For docker load, and for strata load
strata save -o app.tar me/app:1
strata save me/app:1 | gzip >app.tar.gz`,

	"load": `
strata load -i app.tar
gunzip -c app.tar.gz | strata load`,

	"import": `
# An image of a root file system
strata import -c 'CMD ["sh"]' rootfs.tar.gz me/base:1
tar c -C rootfs . | strata import - me/base:1`,

	"export": `
# The files of an image, without its layers
strata export -o rootfs.tar me/app
strata export me/app | tar tv`,

	"images": `
strata images
strata images me/app

# The platforms that each name has an image for
strata images --tree

# Remove all images without a name
strata images -q --filter dangling=true | xargs strata rmi

# For scripts
strata images --format '{{.Repository}}:{{.Tag}} {{.Size}}'`,

	"tag": `
strata tag me/app:1 registry.example/me/app:1

# Give a step a name, so that it is kept
strata tag 3f2a9c81d07b me/app:broken`,

	"rmi": `
strata rmi me/app:1`,

	"image prune": `
# Images without a name; all that are older than ten days
strata image prune -f
strata image prune -af --filter until=240h`,

	"system df": `
strata system df
strata system df -v

# For scripts
strata system df -v --format '{{range .Images}}{{println .Repository .UniqueSize}}{{end}}'`,

	"system check": `
# Compare the store with what it promises, and read every byte
strata system check --read-data

# Set aside what is damaged
strata system check --repair`,

	"system prune": `
strata system prune -f
strata system prune -af`,

	"info": `
strata info
strata info --format '{{.StoreRoot}}'`,

	"version": `
strata version
strata version --format '{{.Version}}'`,

	"create": `
# Get a file out of an image
id=$(strata create me/app)
strata cp $id:/usr/bin/app .
strata rm $id`,
	"cp": `
# A file of an image, as it is
strata cp me/app:/etc/os-release .

# What is in a directory, as a tar
strata cp me/app:/usr/share/. - | tar t`,
	"ps": `
strata ps -a`,
	"rm": `
strata rm -f extract`,
	"container ls": `
strata container ls -a`,
	"container prune": `
strata container prune -f`,
	"volume create": `
strata volume create cache`,
	"volume ls": `
strata volume ls`,
	"volume inspect": `
strata volume inspect --format '{{.Mountpoint}}' cache`,
	"volume rm": `
strata volume rm cache`,
	"volume prune": `
strata volume prune -f`,
	"mount ls": `
strata mount ls`,
	"mount export": `
# What a compiler keeps, to another machine
strata mount export go-build | ssh build2 strata mount import go-build -`,
	"mount import": `
strata mount export go-build -o go-build.tar
strata mount import go-build go-build.tar`,
	"mount rm": `
strata mount rm go-build`,
	"builder du": `
# What the cache has, the largest first
strata builder du
strata builder du --filter type=exec.cachemount --format json`,

	"buildx du": `
strata buildx du
strata buildx du --filter type=exec.cachemount --format json`,

	"buildx prune": `
strata buildx prune -f --filter until=168h`,

	"buildx ls": `
strata buildx ls`,

	"buildx inspect": `
strata buildx inspect --bootstrap`,

	"buildx create": `
# A script's builder: there is only one here, and its name is taken
strata buildx create --use --name ci`,

	"buildx use": `
strata buildx use default`,

	"buildx stop": `
strata buildx stop`,

	"buildx rm": `
strata buildx rm ci`,

	"buildx install": `
strata buildx install`,

	"buildx uninstall": `
strata buildx uninstall`,

	"buildx version": `
strata buildx version`,

	"buildx history ls": `
strata buildx history ls --filter status=error`,

	"buildx history inspect": `
# The last build
strata buildx history inspect`,

	"buildx history logs": `
strata buildx history logs`,

	"buildx history open": `
strata buildx history open`,

	"buildx history rm": `
strata buildx history rm --all`,

	"buildx imagetools inspect": `
strata buildx imagetools inspect debian:12
strata buildx imagetools inspect --format '{{.Manifest.Digest}}' debian:12`,

	"buildx imagetools create": `
# One name for two platforms
strata buildx imagetools create -t registry.example/me/app:1 registry.example/me/app:amd64 registry.example/me/app:arm64`,

	"completion": `
# In this shell
source <(strata completion bash)

# In new ones
strata completion bash >/usr/share/bash-completion/completions/strata
strata completion zsh >/usr/local/share/zsh/site-functions/_strata
strata completion fish >~/.config/fish/completions/strata.fish`,
}

// sameExamples are the commands that another path has the examples of, beside those of the same name in a group.
var sameExamples = map[string]string{"image ls": "images", "image rm": "rmi"}

// setExamples gives a command and those below it their examples.
func setExamples(cmd *cobra.Command) {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	text, ok := examples[path]
	if same := sameExamples[path]; !ok && same != "" {
		text, ok = examples[same], true
	}
	if !ok && !cmd.HasSubCommands() {
		text = examples[cmd.Name()]
	}
	if text = strings.TrimPrefix(text, "\n"); text != "" && cmd.Example == "" {
		cmd.Example = "  " + strings.ReplaceAll(strings.ReplaceAll(text, "\n", "\n  "), "\n  \n", "\n\n")
	}
	for _, c := range cmd.Commands() {
		setExamples(c)
	}
}
