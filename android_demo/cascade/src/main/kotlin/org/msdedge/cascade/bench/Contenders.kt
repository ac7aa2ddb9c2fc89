package org.msdedge.cascade.bench

import java.nio.ByteBuffer
import org.msdedge.cascade.Bundle
import org.msdedge.cascade.Cascade
import org.msdedge.cascade.Chain
import org.msdedge.cascade.ExitRule
import org.msdedge.cascade.Model
import org.msdedge.cascade.RawImage
import org.msdedge.cascade.StandAloneExit
import org.msdedge.cascade.argmax
import org.msdedge.cascade.checkTensors
import org.msdedge.cascade.dequantize
import org.msdedge.cascade.directBuffer
import org.msdedge.cascade.putImage

/** Something whose time per image is taken; see docs/device-protocol.md. */
internal interface Contender {
    val name: String

    /** Whether it has to see every image once, whatever the time. */
    val everyImage: Boolean

    /** Runs once, keeps nothing. */
    fun warm(image: RawImage)

    /** Runs image [index], keeps its times, returns the whole time in milliseconds. */
    fun run(index: Int, image: RawImage): Double
}

/** Lists of milliseconds by name. */
internal class Times {
    private val lists = LinkedHashMap<String, Doubles>()

    fun list(name: String): Doubles = lists.getOrPut(name) { Doubles() }

    fun toMap(): Map<String, DoubleArray> = lists.mapValues { it.value.toArray() }
}

/** The cascade, really stopping where its rule says. All share the loaded files. */
internal class CascadeContender(
    override val name: String,
    override val everyImage: Boolean,
    private val cascade: Cascade,
    private val rule: ExitRule,
    times: Times,
    images: Int,
) : Contender {
    private val preprocess = times.list("$name/preprocess")
    private val inference = times.list("$name/inference")
    private val decision = times.list("$name/decision")
    private val total = times.list("$name/total")

    /** Per image, the first time it went through: exit (from 1; 0 before that), class, probability. */
    val exits = IntArray(images)
    val predicted = IntArray(images)
    val probabilities = FloatArray(images)

    override fun warm(image: RawImage) {
        cascade.rule = rule
        cascade.predict(image)
    }

    override fun run(index: Int, image: RawImage): Double {
        val start = System.nanoTime()
        val answer = cascade.predict(image)
        val took = (System.nanoTime() - start) / 1e6
        preprocess.add(answer.preprocessMs)
        inference.add(answer.segmentMs.sum())
        decision.add(answer.decisionMs)
        total.add(took)
        if (exits[index] == 0) {
            exits[index] = answer.exit
            predicted[index] = answer.index
            probabilities[index] = answer.probability
        }
        return took
    }

    /** Runs once and returns the whole time in milliseconds, kept by the caller. */
    fun time(image: RawImage): Double {
        val start = System.nanoTime()
        cascade.predict(image)
        return (System.nanoTime() - start) / 1e6
    }
}

/** A stand-alone exit, with the pre-processing and the decision that a cascade has as well. */
internal class AloneContender(bundle: Bundle, chain: Chain, private val exit: StandAloneExit, times: Times, first: RawImage) :
    Contender, AutoCloseable {
    override val name = "exit-${exit.index}/alone"
    override val everyImage = false
    private val input = bundle.manifest.input
    private val entry = directBuffer(exit.image.bytes)
    private val entryFloats = entry.asFloatBuffer()
    private val raw = directBuffer(exit.logits.bytes)
    private val rawFloats = raw.asFloatBuffer()
    private val logits = FloatArray(exit.logits.elements)
    private val inference = times.list(name)
    private val total = times.list("$name-total")
    private val model: Model
    private val runner: org.msdedge.cascade.SegmentRunner

    /** Milliseconds to read, verify and load the file, and of its first invocation. */
    val initMs: Double
    val firstMs: Double

    init {
        val start = System.nanoTime()
        model = chain.runtime.load(bundle.read(exit.file), chain.options)
        runner = model.runner()
        initMs = (System.nanoTime() - start) / 1e6
        val where = "${bundle.files.name}/${exit.file.path}"
        checkTensors(where, "input", runner.inputs, listOf(exit.image))
        checkTensors(where, "output", runner.outputs, listOf(exit.logits))
        runner.bind(mapOf(exit.image.name to entry), mapOf(exit.logits.name to raw))
        putImage(first, exit.image, input, entry, entryFloats)
        val loaded = System.nanoTime()
        runner.run()
        firstMs = (System.nanoTime() - loaded) / 1e6
    }

    override fun warm(image: RawImage) {
        putImage(image, exit.image, input, entry, entryFloats)
        runner.run()
    }

    override fun run(index: Int, image: RawImage): Double {
        val start = System.nanoTime()
        putImage(image, exit.image, input, entry, entryFloats)
        val ready = System.nanoTime()
        runner.run()
        val ran = System.nanoTime()
        dequantize(exit.logits, raw, rawFloats, logits)
        argmax(logits)
        val took = (System.nanoTime() - start) / 1e6
        inference.add((ran - ready) / 1e6)
        total.add(took)
        return took
    }

    override fun close() {
        runner.close()
        model.close()
    }
}

/** What real images put into the input buffers of every segment: copies, to be put there again. */
internal class SegmentInputs(private val chain: Chain) {
    private val kept = List(chain.size) { ArrayList<List<ByteArray>>() }

    /** Keeps what lies in the input buffers of a segment (from 0) now. */
    fun keep(segment: Int) {
        kept[segment].add(buffers(segment).map { buffer -> ByteArray(buffer.capacity()) { buffer.get(it) } })
    }

    /** Puts a kept input back, in rotation. */
    fun restore(segment: Int, number: Int) {
        val values = kept[segment][number % kept[segment].size]
        for ((buffer, bytes) in buffers(segment).zip(values)) {
            buffer.duplicate().apply { clear() }.put(bytes)
        }
    }

    private fun buffers(segment: Int): List<ByteBuffer> = if (segment == 0) listOf(chain.entry) else chain.seams[segment - 1]
}

/** One segment alone, again and again, on inputs that real images gave. */
internal class SegmentContender(private val chain: Chain, private val segment: Int, private val inputs: SegmentInputs, times: Times) :
    Contender {
    override val name = "segment-${segment + 1}/warm"
    override val everyImage = false
    private val times = times.list(name)

    override fun warm(image: RawImage) {
        inputs.restore(segment, 0)
        chain.run(segment)
    }

    override fun run(index: Int, image: RawImage): Double {
        inputs.restore(segment, index)
        val start = System.nanoTime()
        chain.run(segment)
        val took = (System.nanoTime() - start) / 1e6
        times.add(took)
        return took
    }
}
