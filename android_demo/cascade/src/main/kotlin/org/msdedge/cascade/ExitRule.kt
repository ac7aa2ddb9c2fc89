package org.msdedge.cascade

import kotlin.math.exp
import kotlin.math.ln

/**
 * When an image leaves the cascade.
 *
 * - max-softmax: when the top probability of the temperature-scaled logits is at least the threshold.
 * - entropy: when their entropy divided by log(classes) is at most the threshold.
 * - patience: when t + 1 exits in a row name the same class; every threshold is t.
 * - averaged: as max-softmax, of a weighted sum of the logits of all exits so far, by which it answers too.
 *
 * Arithmetic is float32 in the order of the Python side, sums included; exponentials and logarithms are rounded
 * correctly, numpy's differ from that by a few units in the last place, and so may scores.
 *
 * Not for use by several threads at once.
 *
 * @property thresholds one per exit but the last; at the last exit every image leaves.
 * @property temperatures one per exit; logits are divided by it before the softmax.
 * @param weights of averaged, for every exit those of the logits of all exits up to it, instead of temperatures.
 * @throws ConfigError the lengths do not fit, or a number is none of its kind.
 */
class ExitRule(
    val name: RuleName,
    val thresholds: List<Double>,
    val temperatures: List<Double>,
    weights: List<List<Double>> = emptyList(),
) {
    private val limits = FloatArray(thresholds.size) { thresholds[it].toFloat() }
    private var products = FloatArray(0)
    private var sums = FloatArray(0)
    private val shares: List<FloatArray>
    private val divisors = FloatArray(temperatures.size) { temperatures[it].toFloat() }

    init {
        val wanted = maxOf(temperatures.size - 1, 0)
        if (temperatures.isEmpty() || thresholds.size != wanted) {
            throw ConfigError("the ${name.text} rule has ${thresholds.size} thresholds for ${temperatures.size} exits; it needs $wanted.")
        }
        for ((place, temperature) in temperatures.withIndex()) {
            if (!(temperature > 0 && temperature < Double.POSITIVE_INFINITY)) {
                throw ConfigError("the temperature of exit ${place + 1} is $temperature; it must be positive and finite.")
            }
        }
        for ((place, threshold) in thresholds.withIndex()) {
            if (threshold.isNaN() || threshold.isInfinite()) {
                throw ConfigError("the threshold of exit ${place + 1} is $threshold; it must be finite.")
            }
        }
        if (name == RuleName.PATIENCE && thresholds.any { it < 0 || it != Math.floor(it) || it != thresholds[0] }) {
            throw ConfigError("patience thresholds $thresholds: all must be one and the same count 0, 1, 2, …")
        }
        if (weights.map { it.size } != if (name == RuleName.AVERAGED) temperatures.indices.map { it + 1 } else emptyList<Int>()) {
            throw ConfigError("the ${name.text} rule has weights for ${weights.size} exits; averaged has one list for each of $exits.")
        }
        for ((place, own) in weights.withIndex()) {
            if (own.any { !(it >= 0 && it < Double.POSITIVE_INFINITY) }) {
                throw ConfigError("the weights of exit ${place + 1} are $own; they must be finite, 0 or more.")
            }
        }
        shares = weights.map { own -> FloatArray(own.size) { own[it].toFloat() } }
    }

    /** The number of exits. */
    val exits: Int get() = temperatures.size

    /**
     * Decides for one image.
     *
     * @param exit the exit just computed, from 0.
     * @param logits of exits 0..[exit], each (classes).
     * @param probabilities filled with those that the image is answered by, (classes).
     * @return whether the image leaves here.
     */
    fun decide(exit: Int, logits: Array<FloatArray>, probabilities: FloatArray): Boolean {
        val values = basis(exit, logits)
        val temperature = temperature(exit)
        val total = softmax(values, temperature, probabilities)
        if (exit == exits - 1) return true
        return when (name) {
            RuleName.MAX_SOFTMAX, RuleName.AVERAGED -> 1f / total >= limits[exit] // the top class's weight is exp(0), exactly 1
            RuleName.ENTROPY -> entropy(values, temperature, probabilities, total, scratch(values.size)) <= limits[exit]
            RuleName.PATIENCE -> agree(exit, limits[exit].toInt(), logits)
        }
    }

    /**
     * What the rule compares with the threshold of [exit] (from 0), given the logits of exits 0..[exit]; not for patience.
     * For tests and diagnosis.
     */
    fun score(exit: Int, logits: Array<FloatArray>): Float {
        val values = basis(exit, logits)
        val probabilities = FloatArray(values.size)
        val total = softmax(values, temperature(exit), probabilities)
        if (name != RuleName.ENTROPY) return 1f / total
        return entropy(values, temperature(exit), probabilities, total, FloatArray(values.size))
    }

    /** The logits that [exit] answers by: its own, or the weighted sum of all up to it. */
    private fun basis(exit: Int, logits: Array<FloatArray>): FloatArray {
        if (name != RuleName.AVERAGED) return logits[exit]
        val own = shares[exit]
        if (sums.size != logits[exit].size) sums = FloatArray(logits[exit].size)
        for (i in sums.indices) {
            var total = logits[0][i] * own[0]
            for (k in 1..exit) total += logits[k][i] * own[k]
            sums[i] = total
        }
        return sums
    }

    private fun temperature(exit: Int): Float = if (name == RuleName.AVERAGED) 1f else divisors[exit]

    private fun scratch(size: Int): FloatArray {
        if (products.size != size) products = FloatArray(size)
        return products
    }

    private fun agree(exit: Int, patience: Int, logits: Array<FloatArray>): Boolean {
        if (exit < patience) return false
        val named = argmax(logits[exit])
        for (back in 1..patience) if (argmax(logits[exit - back]) != named) return false
        return true
    }

    companion object {
        /** The threshold with which no image leaves before the last exit. */
        fun never(name: RuleName, exits: Int): Double = when (name) {
            RuleName.MAX_SOFTMAX -> 2.0
            RuleName.ENTROPY -> -1.0
            RuleName.PATIENCE -> exits.toDouble()
            RuleName.AVERAGED -> 2.0
        }

        /** The rule by which every image leaves at [exit] (from 0). */
        fun forced(exit: Int, temperatures: List<Double>): ExitRule {
            val thresholds = List(temperatures.size - 1) { if (it < exit) 2.0 else -1.0 }
            return ExitRule(RuleName.MAX_SOFTMAX, thresholds, temperatures)
        }

        /** The rule of an operating point. @throws ConfigError its numbers make no rule. */
        fun of(calibration: Calibration, point: OperatingPoint) =
            ExitRule(calibration.rule, point.thresholds, calibration.temperatures, calibration.weights)
    }
}

/** The place of the largest value, the first of equals. */
fun argmax(values: FloatArray): Int {
    var best = 0
    for (i in 1 until values.size) if (values[i] > values[best]) best = i
    return best
}

/** Fills [into] with the softmax of `logits / temperature`, returns the sum of the weights, whose largest is 1. */
private fun softmax(logits: FloatArray, temperature: Float, into: FloatArray): Float {
    var top = Float.NEGATIVE_INFINITY
    for (value in logits) if (value > top) top = value
    for (i in logits.indices) into[i] = exp(((logits[i] - top) / temperature).toDouble()).toFloat()
    val total = pairwiseSum(into, 0, into.size)
    for (i in into.indices) into[i] = into[i] / total
    return total
}

/** The entropy of [probabilities] divided by log(classes); [products] is scratch of the same length. */
private fun entropy(logits: FloatArray, temperature: Float, probabilities: FloatArray, total: Float, products: FloatArray): Float {
    var top = Float.NEGATIVE_INFINITY
    for (value in logits) if (value > top) top = value
    // log p = shifted - log(total): finite even where p itself is 0.
    for (i in logits.indices) products[i] = probabilities[i] * ((logits[i] - top) / temperature)
    return (ln(total.toDouble()).toFloat() - pairwiseSum(products, 0, products.size)) / ln(logits.size.toDouble()).toFloat()
}

/** The sum in float32 in numpy's order: one after the other below 8 values, 8 running sums up to 128, halves beyond. */
private fun pairwiseSum(values: FloatArray, start: Int, count: Int): Float {
    if (count < 8) {
        var sum = 0f
        for (i in start until start + count) sum += values[i]
        return sum
    }
    if (count > 128) {
        val half = count / 2 - count / 2 % 8
        return pairwiseSum(values, start, half) + pairwiseSum(values, start + half, count - half)
    }
    var a = values[start]
    var b = values[start + 1]
    var c = values[start + 2]
    var d = values[start + 3]
    var e = values[start + 4]
    var f = values[start + 5]
    var g = values[start + 6]
    var h = values[start + 7]
    var at = start + 8
    while (at + 8 <= start + count) {
        a += values[at]
        b += values[at + 1]
        c += values[at + 2]
        d += values[at + 3]
        e += values[at + 4]
        f += values[at + 5]
        g += values[at + 6]
        h += values[at + 7]
        at += 8
    }
    var sum = ((a + b) + (c + d)) + ((e + f) + (g + h))
    while (at < start + count) sum += values[at++]
    return sum
}
