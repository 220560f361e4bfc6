package features

import (
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) Checksum { return Checksum(crc32.Checksum(p, castagnoli)) }

// update returns the checksum of bytes with checksum c followed by p.
func update(c Checksum, p []byte) Checksum { return Checksum(crc32.Update(uint32(c), castagnoli, p)) }

func (c Checksum) String() string { return fmt.Sprintf("%08x", uint32(c)) }

// MarshalText returns eight lower-case hexadecimal digits.
func (c Checksum) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText accepts eight lower-case hexadecimal digits and nothing else: a flipped bit that turns a digit into its upper case
// is damage too.
func (c *Checksum) UnmarshalText(text []byte) error {
	if len(text) != 8 {
		return fmt.Errorf("checksum %q: expected 8 hexadecimal digits", text)
	}
	var v uint32
	for _, d := range text {
		switch {
		case '0' <= d && d <= '9':
			v = v<<4 | uint32(d-'0')
		case 'a' <= d && d <= 'f':
			v = v<<4 | uint32(d-'a'+10)
		default:
			return fmt.Errorf("checksum %q: expected 8 lower-case hexadecimal digits", text)
		}
	}
	*c = Checksum(v)
	return nil
}

// combine returns the checksum of the concatenation of a run of bytes with checksum a and one of n bytes with checksum b. A CRC is a
// remainder modulo the polynomial P, so a is multiplied by x^(8n) mod P and b is added (zlib's crc32_combine).
func combine(a, b Checksum, n int64) Checksum {
	shift := uint32(1) << 31  // x^0: bit 31 is the coefficient of x^0 in the reflected representation
	square := uint32(1) << 23 // x^8
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			shift = mulModP(shift, square)
		}
		square = mulModP(square, square)
	}
	return Checksum(mulModP(shift, uint32(a))) ^ b
}

// mulModP multiplies two polynomials modulo the Castagnoli polynomial, in the reflected representation.
func mulModP(a, b uint32) uint32 {
	var p uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return p
}
