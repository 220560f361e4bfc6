package kernel

// The generated kernels; vecPaths names the one in use.
var (
	avx2Vec = &vecKernels{
		exp: expAVX2, log: logAVX2, sigmoid: sigmoidAVX2,
		ceLogits: ceLogitsAVX2, ceLogitsLoss: ceLogitsLossAVX2, ceProbs: ceProbsAVX2, ceProbsLoss: ceProbsLossAVX2,
		adam: adamAVX2, sgd: sgdAVX2,
		relu: reluAVX2, add: addAVX2, reluGrad: reluGradAVX2, sigmoidGrad: sigmoidGradAVX2,
		sum2: sum2AVX2, sumReLU: sumReLUAVX2, scale: scaleAVX2, axpy: axpyAVX2, axpby: axpbyAVX2,
		add4: add4AVX2, dot: dotAVX2, maxMagnitude: maxMagnitudeAVX2, greater: greaterAVX2,
		dropout: dropoutAVX2, convPool: convPoolAVX2, convPoolGrad: convPoolGradAVX2,
	}
	avx512Vec = &vecKernels{
		exp: expAVX512, log: logAVX512, sigmoid: sigmoidAVX512,
		ceLogits: ceLogitsAVX512, ceLogitsLoss: ceLogitsLossAVX512, ceProbs: ceProbsAVX512, ceProbsLoss: ceProbsLossAVX512,
		adam: adamAVX512, sgd: sgdAVX512,
		relu: reluAVX512, add: addAVX512, reluGrad: reluGradAVX512, sigmoidGrad: sigmoidGradAVX512,
		sum2: sum2AVX512, sumReLU: sumReLUAVX512, scale: scaleAVX512, axpy: axpyAVX512, axpby: axpbyAVX512,
		add4: add4AVX512, dot: dotAVX512, maxMagnitude: maxMagnitudeAVX512, greater: greaterAVX512,
		dropout: dropoutAVX512, convPool: convPoolAVX512, convPoolGrad: convPoolGradAVX512,
	}
)
