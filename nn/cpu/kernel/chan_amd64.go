package kernel

// The generated channel kernels; chanPaths names the one in use.
var (
	avx2Chan = &chanKernels{
		sum: chanSumAVX2, moments: chanMomentsAVX2, affine: chanAffineAVX2, affineReLU: chanAffineReLUAVX2,
		gradSums: chanGradSumsAVX2, gradSumsReLU: chanGradSumsReLUAVX2,
		grad: chanGradAVX2, gradReLU: chanGradReLUAVX2, gradReLUAdd: chanGradReLUAddAVX2,
		maxPool: maxPoolAVX2, maxPoolGrad: maxPoolGradAVX2,
		affinePool: affinePoolAVX2, affinePoolSums: affinePoolGradSumsAVX2, affinePoolGrads: affinePoolGradAVX2,
	}
	avx512Chan = &chanKernels{
		sum: chanSumAVX512, moments: chanMomentsAVX512, affine: chanAffineAVX512, affineReLU: chanAffineReLUAVX512,
		gradSums: chanGradSumsAVX512, gradSumsReLU: chanGradSumsReLUAVX512,
		grad: chanGradAVX512, gradReLU: chanGradReLUAVX512, gradReLUAdd: chanGradReLUAddAVX512,
		maxPool: maxPoolAVX512, maxPoolGrad: maxPoolGradAVX512,
		affinePool: affinePoolAVX512, affinePoolSums: affinePoolGradSumsAVX512, affinePoolGrads: affinePoolGradAVX512,
	}
)
