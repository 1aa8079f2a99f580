//go:build !amd64 && !arm64

package supervisor

const nativeArch = 0

var (
	rules       []rule
	deviceCalls []uint32
)
