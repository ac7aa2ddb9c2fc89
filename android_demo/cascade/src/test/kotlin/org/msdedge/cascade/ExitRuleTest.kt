package org.msdedge.cascade

import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class ExitRuleTest {
    /** Scores may differ by [ULPS] units in the last place: numpy's exponential is no correctly rounded one. */
    @Test
    fun `scores and exits are Python's`() {
        var worst = 0.0
        var images = 0
        for (case in Fixtures.cases("rules.json").map { it as Map<*, *> }) {
            val name = RuleName.values().first { it.text == case["rule"] }
            val weights = (case["weights"] as List<*>).map { numbers(it) }
            val rule = ExitRule(name, numbers(case["thresholds"]), numbers(case["temperatures"]), weights)
            val scores = (case["scores"] as List<*>).map { numbers(it) }
            val wanted = (case["exits"] as List<*>).map { (it as Long).toInt() }
            for ((image, rows) in (case["logits"] as List<*>).withIndex()) {
                val logits = (rows as List<*>).map { row -> numbers(row).map { it.toFloat() }.toFloatArray() }.toTypedArray()
                var onTheEdge = false
                for ((exit, values) in scores.withIndex()) {
                    val found = rule.score(exit, logits)
                    val unit = Math.ulp(maxOf(abs(values[image].toFloat()), 1e-3f))
                    worst = maxOf(worst, abs(found - values[image]) / unit)
                    onTheEdge = onTheEdge || abs(values[image].toFloat() - rule.thresholds[exit].toFloat()) <= ULPS * unit
                }
                val probabilities = FloatArray(logits[0].size)
                val exit = logits.indices.first { rule.decide(it, logits, probabilities) } + 1
                assertEquals(1f, probabilities.sum(), 1e-5f)
                if (!onTheEdge) assertEquals(wanted[image], exit, "${name.text}, ${logits[0].size} classes, image $image")
                images++
            }
        }
        println("scores differ from Python's by at most $worst units in the last place, over $images images")
        assertTrue(images >= 500)
        assertTrue(worst <= ULPS, "$worst units in the last place")
    }

    @Test
    fun `never and always do what they say`() {
        val surest = arrayOf(floatArrayOf(1e30f, 0f), floatArrayOf(1e30f, 0f))
        val undecided = arrayOf(floatArrayOf(0f, 0f), floatArrayOf(1f, 0f))
        val probabilities = FloatArray(2)
        for (name in RuleName.values()) {
            val weights = if (name == RuleName.AVERAGED) listOf(listOf(1.0), listOf(1.0, 1.0)) else emptyList()
            val never = ExitRule(name, listOf(ExitRule.never(name, 2)), listOf(1.0, 1.0), weights)
            assertEquals(false, never.decide(0, surest, probabilities), name.text)
            assertEquals(true, never.decide(1, surest, probabilities), name.text)
        }
        assertEquals(true, ExitRule.forced(0, listOf(1.0, 1.0)).decide(0, undecided, probabilities))
        assertEquals(false, ExitRule.forced(1, listOf(1.0, 1.0)).decide(0, surest, probabilities))
    }

    @Test
    fun `numbers that make no rule are refused`() {
        val one = listOf(1.0)
        val bad = listOf<() -> ExitRule>(
            { ExitRule(RuleName.MAX_SOFTMAX, emptyList(), emptyList()) },
            { ExitRule(RuleName.MAX_SOFTMAX, one, one) },
            { ExitRule(RuleName.MAX_SOFTMAX, listOf(Double.NaN), listOf(1.0, 1.0)) },
            { ExitRule(RuleName.ENTROPY, one, listOf(1.0, 0.0)) },
            { ExitRule(RuleName.PATIENCE, listOf(0.5), listOf(1.0, 1.0)) },
            { ExitRule(RuleName.ENTROPY, emptyList(), one, listOf(one)) },
            { ExitRule(RuleName.AVERAGED, one, listOf(1.0, 1.0)) },
            { ExitRule(RuleName.AVERAGED, one, listOf(1.0, 1.0), listOf(one, one)) },
            { ExitRule(RuleName.AVERAGED, emptyList(), one, listOf(listOf(-1.0))) },
            { ExitRule(RuleName.PATIENCE, listOf(-1.0), listOf(1.0, 1.0)) },
            { ExitRule(RuleName.PATIENCE, listOf(0.0, 1.0), listOf(1.0, 1.0, 1.0)) },
        )
        for (make in bad) assertFailsWith<ConfigError> { make() }
    }

    private fun numbers(value: Any?) = (value as List<*>).map { (it as Number).toDouble() }

    private companion object {
        const val ULPS = 6
    }
}
