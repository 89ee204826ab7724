package redisstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// What stands in Redis for a value:
//
//	32 bytes  HMAC-SHA256 over: the length of the key (8 bytes), the key, all that follows
//	 8 bytes  when its life ends, in milliseconds of Unix time
//	 n bytes  the value
//
// The key is in it so that a value cannot be moved to another key, and the time so that
// one cannot be put back when it may have become another. Numbers are big-endian.
const sealSize = sha256.Size + 8

var errForged = errors.New("not written by a replica")

func seal(secret []byte, key string, value []byte, ends time.Time) []byte {
	sealed := make([]byte, sha256.Size, sealSize+len(value))
	sealed = binary.BigEndian.AppendUint64(sealed, uint64(ends.UnixMilli()))
	sealed = append(sealed, value...)
	copy(sealed, mac(secret, key, sealed[sha256.Size:]))
	return sealed
}

// unseal returns the value in sealed and how much longer it lives, which is nothing or
// less if it should not be there any more.
func unseal(secret []byte, key, sealed string, now time.Time) (value []byte, life time.Duration, err error) {
	bytes := []byte(sealed)
	if len(bytes) < sealSize || !hmac.Equal(bytes[:sha256.Size], mac(secret, key, bytes[sha256.Size:])) {
		return nil, 0, errForged
	}
	ends := time.UnixMilli(int64(binary.BigEndian.Uint64(bytes[sha256.Size:])))
	return bytes[sealSize:], ends.Sub(now), nil
}

func mac(secret []byte, key string, rest []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	h.Write([]byte(key))
	h.Write(rest)
	return h.Sum(nil)
}
