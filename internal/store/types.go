package store

import (
	"github.com/strata-build/strata/internal/store/check"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/gc"
	"github.com/strata-build/strata/internal/store/images"
	"github.com/strata-build/strata/internal/store/kept"
	"github.com/strata-build/strata/internal/store/layers"
	"github.com/strata-build/strata/internal/store/mounts"
	"github.com/strata-build/strata/internal/store/records"
)

// ErrNotFound says that the store holds no such thing.
var ErrNotFound = db.ErrNotFound

// Errors of reading a cache mount as a whole.
var (
	ErrNoCacheMount    = mounts.ErrNone
	ErrCacheMountInUse = mounts.ErrInUse
)

// ErrUnsealed says that a layer's tree is not as it was sealed: see Layers.Lowers.
var ErrUnsealed = layers.ErrUnsealed

// DeltaFile is the file, in a folder that AddMade takes, of what a tar has more than its base.
const DeltaFile = layers.DeltaFile

// The values of Forms, the parser of one, and the directories of lower layers.
const (
	AutoForms   = layers.AutoForms
	TreeForms   = layers.TreeForms
	IndexForms  = layers.IndexForms
	MergedForms = layers.MergedForms
)

var (
	ParseForms = layers.ParseForms
	Dirs       = layers.Dirs
)

// ErrChanged says that an image's names are not those with which it was to be removed.
var ErrChanged = gc.ErrChanged

// ErrNameTaken says that another container has a name.
var ErrNameTaken = images.ErrNameTaken

// MaxLogged is of how many builds it is kept what their steps printed.
const MaxLogged = records.MaxLogged

// VolumeName is what may be the name of a volume.
var VolumeName = mounts.VolumeName

// NewGrowing returns a file that others read while it is written.
var NewGrowing = content.NewGrowing

// NewContainerID returns the ID for a new container.
var NewContainerID = images.NewContainerID

// ErrNowhere is the cause of an UnavailableError where no place is known that has, or had, the layer.
var ErrNowhere = layers.ErrNowhere

// The types of the parts, for those who use the whole store.
type (
	Blob          = content.Blob
	Ingest        = content.Ingest
	Growing       = content.Growing
	MismatchError = content.MismatchError

	Layer            = layers.Layer
	Fetcher          = layers.Fetcher
	Unpacking        = layers.Unpacking
	UnavailableError = layers.UnavailableError
	DamagedError     = layers.DamagedError
	Lowers           = layers.Lowers
	LazyLayer        = layers.Lazy
	PartsRead        = layers.PartsRead
	Claim            = layers.Claim
	Lower            = layers.Lower
	Forms            = layers.Forms
	Derived          = layers.Derived
	Earlier          = layers.Earlier

	Kind           = images.Kind
	Config         = images.Config
	Name           = images.Name
	Member         = images.Member
	Manifest       = images.Manifest
	Container      = images.Container
	AmbiguousError = images.AmbiguousError
	PlatformError  = images.PlatformError

	Record = records.Record
	Build  = records.Build

	CacheMount        = mounts.Mount
	CacheMountOptions = mounts.Options
	CacheMountUse     = mounts.Use
	CacheMountReading = mounts.Reading
	Sharing           = mounts.Sharing

	ContextCopy = kept.Copy

	PruneOptions = gc.Options
	OnlyCache    = gc.Only
	Pruned       = gc.Pruned
	Usage        = gc.Usage
	LayerUse     = gc.LayerUse
	RecordUse    = gc.RecordUse
	Disk         = gc.Disk

	CheckOptions = check.Options
	CheckReport  = check.Report
	Problem      = check.Problem
)

// The kinds of configs.
const (
	Image  = images.Image
	Step   = images.Step
	Failed = images.Failed
)
