//go:build !unix

package bench

import "time"

// processCPU is not known here.
func processCPU() time.Duration { return 0 }

// peakRSS is not known here.
func peakRSS() float64 { return 0 }

// resetPeakRSS does nothing here.
func resetPeakRSS() {}

func cpuOf(int) time.Duration { return 0 }

func rssOf(int) float64 { return 0 }
