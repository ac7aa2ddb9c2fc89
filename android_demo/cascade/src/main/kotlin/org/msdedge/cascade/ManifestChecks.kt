package org.msdedge.cascade

// What the published schema cannot say; the Python side's validators are the reference.

internal fun checkTensor(it: TensorSpec) {
    val quantized = it.dtype != DType.FLOAT32
    if (quantized != (it.scale != null) || quantized != (it.zeroPoint != null)) {
        fail("tensor '${it.name}': ${it.dtype.text} ${if (quantized) "needs" else "has no"} scale and zero point")
    }
    if (it.shape.size != it.layout.name.length) {
        fail("tensor '${it.name}': shape ${it.shape} does not fit the layout ${it.layout}")
    }
    if (it.shape[0] != 1) fail("tensor '${it.name}': the batch is ${it.shape[0]}, files of a bundle take 1")
    val allowed = if (it.dtype == DType.UINT8) 0..255 else -128..127
    if (it.zeroPoint != null && it.zeroPoint !in allowed) {
        fail("tensor '${it.name}': the zero point ${it.zeroPoint} is no ${it.dtype.text}")
    }
    if (it.shape.fold(it.dtype.bytes.toLong()) { size, length -> minOf(size * length, LARGEST + 1) } > LARGEST) {
        fail("tensor '${it.name}': ${it.shape} is more than a phone can hold")
    }
}

internal fun checkVariant(it: Variant) {
    val count = it.segments.size
    for ((place, segment) in it.segments.withIndex()) {
        if (segment.index != place + 1) fail("${it.name}: segment ${segment.index} stands at place ${place + 1}")
        if (segment.features.isEmpty() != (place + 1 == count)) {
            fail("${it.name}: segment ${place + 1} of $count ${if (segment.features.isEmpty()) "lacks" else "has"} features")
        }
        if (place + 1 < count) checkSeam(it.name, segment, it.segments[place + 1])
    }
    if (it.exits.isNotEmpty() && it.exits.map { exit -> exit.index } != (1..count).toList()) {
        fail("${it.name}: stand-alone exits are not 1..$count")
    }
    it.calibration?.let { calibration -> checkCalibration(it.name, calibration, count) }
}

private fun checkSeam(variant: String, giver: Segment, taker: Segment) {
    val seam = "${giver.index}→${taker.index}"
    if (giver.features.size != taker.inputs.size) {
        fail("$variant: segment ${giver.index} gives ${giver.features.size} tensors, the next takes ${taker.inputs.size}")
    }
    for ((given, taken) in giver.features.zip(taker.inputs)) {
        differs(variant, seam, "shape", given.shape, taken.shape)
        differs(variant, seam, "layout", given.layout, taken.layout)
        differs(variant, seam, "dtype", given.dtype.text, taken.dtype.text)
        differs(variant, seam, "scale", given.scale, taken.scale)
        differs(variant, seam, "zero point", given.zeroPoint, taken.zeroPoint)
    }
}

private fun differs(variant: String, seam: String, what: String, given: Any?, taken: Any?) {
    if (given != taken) fail("$variant: seam $seam: $what $given given, $taken taken")
}

private fun checkCalibration(variant: String, it: Calibration, count: Int) {
    for (point in it.points + it.front + it.budgeted) {
        if (point.thresholds.size != count - 1 || point.exitShares.size != count) {
            fail("$variant: operating point '${point.name}' does not fit $count exits")
        }
    }
    if (it.temperatures.size != count || it.segmentMs.size != count) fail("$variant: the calibration does not fit $count exits")
    val wanted = if (it.rule == RuleName.AVERAGED) (1..count).toList() else emptyList()
    if (it.weights.map { own -> own.size } != wanted) fail("$variant: the weights do not fit $count exits and the ${it.rule.text} rule")
}

internal fun checkParts(it: Manifest) {
    val names = it.variants.map { variant -> variant.name }
    if (names.toSet().size != names.size) fail("a variant stands there twice")
    for (variant in it.variants) {
        if (variant.segments.size != it.exits.size) {
            fail("${variant.name} has ${variant.segments.size} segments, the network ${it.exits.size} exits")
        }
        for (segment in variant.segments) {
            if (segment.logits.shape != listOf(1, it.classes.size)) {
                fail("${variant.name}: exit ${segment.index} gives ${segment.logits.shape}, not [1, ${it.classes.size}]")
            }
        }
        val image = variant.segments[0].inputs[0]
        val found = if (image.layout == Layout.NHWC) image.shape.drop(1) else image.shape.drop(2) + image.shape[1]
        val size = listOf(it.input.height, it.input.width, it.input.channels)
        if (found != size) fail("${variant.name}: segment 1 takes an image $found, the manifest says $size")
    }
    if (it.golden.outputs.map { output -> output.variant }.sorted() != names.sorted() || it.golden.labels.size != it.golden.images) {
        fail("the golden samples do not cover every variant and image")
    }
}

private const val LARGEST = Int.MAX_VALUE.toLong()

private fun fail(what: String): Nothing = throw Contradiction(what)
