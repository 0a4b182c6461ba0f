package registry

// Bounds of what a registry holds. They are part of the state machine: replicas with
// other bounds would decide otherwise, so a change of one needs a new [Level].
const (
	// MaxEntry is the size of an encoded command.
	MaxEntry = 1 << 20
	// MaxNodes counts nodes, those that are gone included until their place is needed.
	MaxNodes = 5000
	// MaxJobs counts jobs that have not ended, MaxEnded those that have: of these the
	// oldest make place.
	MaxJobs  = 2000
	MaxEnded = 200
	// MaxAllocs counts live allocations.
	MaxAllocs = 50_000
	// MaxSpec is the size of one encoded job specification, MaxSpecs of all.
	MaxSpec  = 64 << 10
	MaxSpecs = 64 << 20
	// MaxNode is the size of one encoded node.
	MaxNode = 4 << 10
	// MaxArtifacts counts programs.
	MaxArtifacts = 1000
	// MaxVersions counts the versions kept of one job.
	MaxVersions = 4
	// MaxAllocsEnded counts the ended allocations kept of one job, for people to read.
	MaxAllocsEnded = 8
	// MaxSavepoints counts the savepoints listed for one job: the oldest leave the list,
	// not the storage.
	MaxSavepoints = 32
	// MaxJobEvents and MaxEvents count the events of one job and of the cluster.
	MaxJobEvents = 64
	MaxEvents    = 512
	// MaxText is the length of a reason, an event or an exit, in bytes; longer ones
	// are cut off.
	MaxText = 1 << 10
	// MaxLines and MaxLine bound an executor's last lines.
	MaxLines = 20
	MaxLine  = 256
	// MaxName is the length of names and ids.
	MaxName = 100
)
