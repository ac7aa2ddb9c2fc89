package org.msdedge.demo

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.RectF
import android.text.TextPaint
import android.text.TextUtils
import android.util.AttributeSet
import android.util.TypedValue
import android.view.View
import kotlin.math.ceil
import kotlin.math.max

/** A line of [BarsView]: two texts, and below them a bar from [start] to [end], shares of the width. */
data class Bar(val label: String, val value: String, val start: Float, val end: Float, val color: Int, val hollow: Boolean = false)

/** Labelled bars, one below the other; read out as one text. */
class BarsView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    constructor(context: Context) : this(context, null)

    private val text = TextPaint(Paint.ANTI_ALIAS_FLAG).apply {
        textSize = TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_SP, 14f, resources.displayMetrics)
        color = context.getColor(R.color.text)
    }
    private val fill = Paint(Paint.ANTI_ALIAS_FLAG)
    private val density = resources.displayMetrics.density
    private val lineHeight = ceil(text.fontMetrics.descent - text.fontMetrics.ascent).toInt()
    private val barHeight = (10 * density).toInt()
    private val gap = (4 * density).toInt()
    private val after = (8 * density).toInt()
    private val track = context.getColor(R.color.track)
    private val box = RectF()

    // With large type a label and its value may need a line each.
    private var twoLines = false

    /** What is shown. */
    var bars: List<Bar> = emptyList()
        set(value) {
            if (field == value) return
            field = value
            requestLayout()
            contentDescription = value.joinToString(". ") { "${it.label}: ${it.value}" }
            invalidate()
        }

    override fun onMeasure(widthSpec: Int, heightSpec: Int) {
        val width = getDefaultSize(suggestedMinimumWidth, widthSpec)
        val room = width - paddingLeft - paddingRight - 2 * gap
        twoLines = bars.any { text.measureText(it.label) + text.measureText(it.value) > room }
        val texts = if (twoLines) 2 * lineHeight else lineHeight
        val height = max(0, bars.size * (texts + gap + barHeight + after) - after) + paddingTop + paddingBottom
        setMeasuredDimension(width, resolveSize(height, heightSpec))
    }

    override fun onDraw(canvas: Canvas) {
        val left = paddingLeft.toFloat()
        val right = (width - paddingRight).toFloat()
        var y = paddingTop.toFloat()
        for (bar in bars) {
            val label = TextUtils.ellipsize(bar.label, text, right - left, TextUtils.TruncateAt.END).toString()
            canvas.drawText(label, left, y - text.fontMetrics.ascent, text)
            if (twoLines) y += lineHeight
            canvas.drawText(bar.value, right - text.measureText(bar.value), y - text.fontMetrics.ascent, text)
            y += lineHeight + gap
            draw(canvas, left, right, y, 0f, 1f, track, hollow = false)
            if (bar.end > bar.start) draw(canvas, left, right, y, bar.start, bar.end, bar.color, bar.hollow)
            y += barHeight + after
        }
    }

    private fun draw(canvas: Canvas, left: Float, right: Float, top: Float, start: Float, end: Float, color: Int, hollow: Boolean) {
        val from = left + (right - left) * start.coerceIn(0f, 1f)
        val to = left + (right - left) * end.coerceIn(0f, 1f)
        box.set(from, top, max(to, from + 2 * density), top + barHeight)
        fill.color = color
        fill.style = if (hollow) Paint.Style.STROKE else Paint.Style.FILL
        fill.strokeWidth = density
        if (hollow) box.inset(density / 2, density / 2)
        canvas.drawRoundRect(box, 3 * density, 3 * density, fill)
    }
}
