package org.msdedge.demo

import android.app.Activity
import android.widget.TextView
import java.util.Locale
import org.msdedge.cascade.Answer

/** Draws an answer: the top classes, what each segment cost against all of them, which exits answered so far. */
internal class ResultBars(private val activity: Activity) {
    fun render(screen: Screen) {
        val answer = screen.answer ?: return
        val exits = screen.fullMs.size
        activity.view<TextView>(R.id.answer).text = text(R.string.answer, answer.label, percent(answer.probability.toDouble()))
        activity.view<TextView>(R.id.exit).text = text(R.string.exit, answer.exit, exits, ms(answer.totalMs))
        activity.view<BarsView>(R.id.classes).bars = answer.top(TOP).map { index ->
            val share = answer.probabilities[index]
            Bar(screen.classes[index], percent(share.toDouble()), 0f, share, color(R.color.accent))
        }
        // What the last exit costs: what ran as it was measured, and the rest as it usually takes.
        val whole = answer.segmentMs.sum() + screen.fullMs.drop(answer.segmentMs.size).sum()
        activity.view<TextView>(R.id.cost_heading).text = text(R.string.cost, percent(answer.segmentMs.sum() / whole))
        activity.view<BarsView>(R.id.cost).bars = costs(answer, screen.fullMs, whole)
        val seen = screen.shares.sum()
        activity.view<TextView>(R.id.shares_heading).text =
            activity.resources.getQuantityString(R.plurals.shares, seen, seen)
        activity.view<BarsView>(R.id.shares).bars = screen.shares.mapIndexed { place, count ->
            val share = if (seen == 0) 0.0 else count.toDouble() / seen
            Bar(text(R.string.exit_name, place + 1), text(R.string.share, count, percent(share)), 0f, share.toFloat(), shade(place))
        }
    }

    /** One after the other from the left; the width is the last exit's cost. Segments that did not run are hollow. */
    private fun costs(answer: Answer, fullMs: List<Double>, whole: Double): List<Bar> {
        var at = 0.0
        return fullMs.mapIndexed { place, usual ->
            val ran = place < answer.segmentMs.size
            val took = if (ran) answer.segmentMs[place] else usual
            val start = at
            at += took
            val value = if (ran) ms(took) else text(R.string.spared, ms(took))
            Bar(text(R.string.segment, place + 1), value, (start / whole).toFloat(), (at / whole).toFloat(), shade(place), hollow = !ran)
        }
    }

    private fun text(id: Int, vararg values: Any) = activity.getString(id, *values)

    private fun color(id: Int) = activity.getColor(id)

    private fun shade(place: Int) = color(SHADES[place % SHADES.size])

    private companion object {
        const val TOP = 3
        val SHADES = intArrayOf(R.color.exit_1, R.color.exit_2, R.color.exit_3, R.color.exit_4)
    }
}

internal fun percent(share: Double): String = String.format(Locale.getDefault(), "%.1f %%", 100 * share)

internal fun ms(value: Double): String = String.format(Locale.getDefault(), if (value < 10) "%.3f ms" else "%.1f ms", value)
