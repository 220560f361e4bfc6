package kernel

// Until the assembly lands every path computes in portable Go.
var avx2Vec, avx512Vec = &portableVec, &portableVec
