//go:build !amd64 && !arm64

package runner

const auditArchNative = 0

var pathCalls = map[int]pathCall{}
