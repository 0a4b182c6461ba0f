//go:build unix

package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processCPU is the user and system time of the process so far.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resetPeakRSS makes peakRSS that of what follows, where the system can.
func resetPeakRSS() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakRSS is the largest memory of the process so far, in MB (1e6 bytes).
func peakRSS() float64 {
	if mb := statusMB("/proc/self/status", "VmHWM:"); mb > 0 {
		return mb
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	unit := 1024.0
	if runtime.GOOS == "darwin" {
		unit = 1
	}
	return float64(u.Maxrss) * unit / 1e6
}

// clockTicks is how many of the system's units of processor time are a second: always, on Linux,
// to programs.
const clockTicks = 100

// cpuOf is the user and system time of another process so far; 0 where there is no /proc.
func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field is a name in brackets, which may hold anything.
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	ticks := int64(0)
	for _, s := range f[11:13] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks
}

// rssOf is the memory of another process now, in MB (1e6 bytes); 0 where there is no /proc.
func rssOf(pid int) float64 {
	return statusMB("/proc/"+strconv.Itoa(pid)+"/status", "VmRSS:")
}

// statusMB reads a line of a process's status.
func statusMB(file, name string) float64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			if kb, err := strconv.ParseFloat(f[1], 64); err == nil {
				return kb * 1024 / 1e6
			}
		}
	}
	return 0
}
