// Package cpuid tells what the processor can do, as golang.org/x/sys/cpu has found out: the part of
// github.com/klauspost/cpuid/v2 that is used.
package cpuid

import "golang.org/x/sys/cpu"

// FeatureID is something that a processor can do or not.
type FeatureID int

// Features of x86 and of ARM, by the names that the original has for them.
const (
	AVX2 FeatureID = iota
	AVX512DQ
	AVX512F
	AVX512VL
	CLMUL
	SSE2
	SSE4
	VPCLMULQDQ

	ASIMD
	PMULL
	SHA3
)

// CPU is this machine's processor.
var CPU CPUInfo

// CPUInfo is a processor.
type CPUInfo struct{}

// Has says whether the processor has a feature that the system lets programs use.
func (CPUInfo) Has(id FeatureID) bool {
	x, arm := &cpu.X86, &cpu.ARM64
	switch id {
	case AVX2:
		return x.HasAVX2
	case AVX512DQ:
		return x.HasAVX512DQ
	case AVX512F:
		return x.HasAVX512F
	case AVX512VL:
		return x.HasAVX512VL
	case CLMUL:
		return x.HasPCLMULQDQ
	case SSE2:
		return x.HasSSE2
	case SSE4:
		return x.HasSSE41
	case VPCLMULQDQ:
		return x.HasAVX512VPCLMULQDQ
	case ASIMD:
		return arm.HasASIMD
	case PMULL:
		return arm.HasPMULL
	case SHA3:
		return arm.HasSHA3
	}
	return false
}

// Supports says whether the processor has all of these features.
func (c CPUInfo) Supports(ids ...FeatureID) bool {
	for _, id := range ids {
		if !c.Has(id) {
			return false
		}
	}
	return true
}
