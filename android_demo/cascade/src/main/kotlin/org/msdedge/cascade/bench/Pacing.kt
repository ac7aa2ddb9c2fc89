package org.msdedge.cascade.bench

import kotlin.math.ceil
import org.msdedge.cascade.RawImage

/** Runs that last by the clock: frames at a fixed rate, one contender for many minutes. */
internal class Pacing(
    private val images: TestImages,
    private val block: Int,
    private val step: (done: Int, total: Int, text: String, now: Boolean) -> Unit,
) {
    private var held: List<RawImage> = emptyList()
    private var heldFrom = -1

    /** A frame is due every 1/fps s; one that becomes due while the one before still runs is missed. */
    fun pace(contender: CascadeContender, paced: Paced): Map<String, Any?> {
        val times = Doubles()
        val period = 1e9 / paced.fps
        val frames = ceil(paced.seconds * paced.fps).toLong()
        var missed = 0L
        var frame = 0L
        var place = 0
        contender.warm(image(0))
        step(0, paced.seconds.toInt(), "paced", true)
        val start = System.nanoTime()
        while (frame < frames) {
            val image = image(place++)
            sleepUntil(start + (frame * period).toLong())
            times.add(contender.time(image))
            step(((System.nanoTime() - start) / 1e9).toInt(), paced.seconds.toInt(), "paced", false)
            val next = maxOf(frame + 1, ceil((System.nanoTime() - start) / period).toLong())
            missed += minOf(next, frames) - (frame + 1)
            frame = next
        }
        return linkedMapOf("contender" to contender.name, "fps" to paced.fps, "times" to times.toArray(), "missed" to missed)
    }

    /** Over the images again and again; whole times go to the minute in which they ended. */
    fun sustain(contender: CascadeContender, sustain: Sustain, thermal: () -> Int?): Map<String, Any?> {
        val minutes = ArrayList<Map<String, Any?>>()
        val end = (sustain.minutes * MINUTE).toLong()
        val seconds = (sustain.minutes * 60).toInt()
        var times = Doubles()
        var place = 0
        contender.warm(image(0))
        step(0, seconds, "sustained", true)
        val start = System.nanoTime()
        while (true) {
            val took = contender.time(image(place++))
            val elapsed = System.nanoTime() - start
            while (elapsed >= (minutes.size + 1) * MINUTE && elapsed < end) {
                minutes.add(linkedMapOf("times" to times.toArray(), "thermal" to thermal()))
                times = Doubles()
            }
            if (elapsed >= end) break
            times.add(took)
            step((elapsed / 1e9).toInt(), seconds, "sustained", false)
        }
        if (times.size > 0) minutes.add(linkedMapOf("times" to times.toArray(), "thermal" to thermal()))
        return linkedMapOf("contender" to contender.name, "minutes" to minutes)
    }

    private fun image(place: Int): RawImage {
        val index = place % images.count
        val from = index - index % block
        if (from != heldFrom) {
            held = images.read(from, from + block)
            heldFrom = from
        }
        return held[index - from]
    }

    private fun sleepUntil(due: Long) {
        while (true) {
            val left = due - System.nanoTime()
            if (left <= 0) return
            Thread.sleep(left / 1_000_000, (left % 1_000_000).toInt())
        }
    }

    private companion object {
        const val MINUTE = 60_000_000_000L
    }
}
