// Package kernel holds the inner loops of the cpu engine.
package kernel
