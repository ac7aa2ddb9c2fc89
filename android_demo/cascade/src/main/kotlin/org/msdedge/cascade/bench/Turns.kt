package org.msdedge.cascade.bench

import org.msdedge.cascade.RawImage

/** One contender on one block of images: wall-clock and processor seconds, the sum of its times in milliseconds. */
internal class Turn(val contender: String, val block: Int, val images: Int, val milliseconds: Double, val wall: Double, val processor: Double?)

/**
 * Lets contenders take turns on blocks of images (benchmarks/turns.py is the reference).
 *
 * @property onBlock called with the first index and the images of each block of the first round, outside all times.
 * @property between called between turns; may throw to stop.
 */
internal class Turns(
    private val contenders: List<Contender>,
    private val images: TestImages,
    private val block: Int,
    private val seconds: Double,
    private val processorMs: () -> Long?,
    private val onBlock: (Int, List<RawImage>) -> Unit,
    private val between: (done: Int) -> Unit,
) {
    private val taken = ArrayList<Turn>()
    private var spent = 0.0
    private var number = 0

    /** Takes all turns, returns them in order. */
    fun take(): List<Turn> {
        val blocks = (images.count + block - 1) / block
        val must = contenders.filter { it.everyImage }
        for (place in 0 until blocks) {
            val start = place * block
            onBlock(start, images.read(start, start + block))
            val everyone = number == 0 || spent < seconds * (number + 1) / blocks
            round(if (everyone) contenders else must, start, again = false)
        }
        while (contenders.isNotEmpty() && spent < seconds) round(contenders, number % blocks * block, again = true)
        return taken
    }

    private fun round(chosen: List<Contender>, start: Int, again: Boolean) {
        val piece = images.read(start, start + block)
        for (place in chosen.indices) {
            val contender = chosen[(place + number) % chosen.size]
            val began = System.nanoTime()
            taken.add(turn(contender, start, piece))
            if (again || !contender.everyImage) spent += (System.nanoTime() - began) / 1e9
            between(if (again) images.count else start)
        }
        number++
        between(if (again) images.count else start + piece.size)
    }

    private fun turn(contender: Contender, start: Int, piece: List<RawImage>): Turn {
        contender.warm(piece.last())
        val processor = processorMs()
        val wall = System.nanoTime()
        var total = 0.0
        for ((place, image) in piece.withIndex()) total += contender.run(start + place, image)
        val took = (System.nanoTime() - wall) / 1e9
        val used = processorMs()
        val share = if (processor == null || used == null) null else (used - processor) / 1e3
        return Turn(contender.name, number, piece.size, total, took, share)
    }
}
