package org.msdedge.cascade

import com.sun.management.ThreadMXBean
import java.io.File
import java.lang.management.ManagementFactory
import java.nio.ByteBuffer
import kotlin.test.Test
import kotlin.test.assertTrue

/** Whether frames cost memory, with a runtime that computes nothing: what is counted is the cascade's own. */
class AllocationTest {
    private class Idle(private val variant: Variant) : Runtime {
        override val target = variant.target
        override val name = "idle"
        override val version = "0"
        override val hasGpu = false
        private var next = 0

        override fun load(model: ByteArray, options: RunOptions): Model {
            val segment = variant.segments[next++]
            return object : Model {
                override fun runner(signature: String?) = IdleRunner(segment)

                override fun close() = Unit
            }
        }
    }

    private class IdleRunner(segment: Segment) : SegmentRunner {
        override val inputs = segment.inputs.associate { it.name to TensorInfo(it.shape, it.dtype) }
        override val outputs = (segment.features + segment.logits).associate { it.name to TensorInfo(it.shape, it.dtype) }

        override fun bind(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) = Unit

        override fun run() = Unit

        override fun close() = Unit
    }

    private val threads = ManagementFactory.getThreadMXBean() as ThreadMXBean

    private fun bytesPerFrame(frame: () -> Unit): Double {
        repeat(FRAMES) { frame() }
        val id = Thread.currentThread().id
        val before = threads.getThreadAllocatedBytes(id)
        repeat(FRAMES) { frame() }
        return (threads.getThreadAllocatedBytes(id) - before).toDouble() / FRAMES
    }

    @Test
    fun `a frame goes through all segments and rules without an allocation, and predict makes the answer alone`() {
        for (name in listOf("digits", "digits-entropy", "digits-patience", "digits-averaged")) {
            val bundle = Bundle.open(FolderFiles(File(Fixtures.folder, "bundles/$name")))
            for (variant in bundle.manifest.variants) {
                val input = bundle.manifest.input
                val image = RawImage(input.width, input.height, input.channels, ByteArray(input.width * input.height * input.channels) { it.toByte() })
                Cascade.open(bundle, Runtimes(Idle(variant)), variant.name).use { cascade ->
                    val chain = cascade.chain
                    val logits = Array(chain.size) { FloatArray(bundle.manifest.classes.size) }
                    val probabilities = FloatArray(bundle.manifest.classes.size)
                    val handedOn = bytesPerFrame {
                        chain.enter(image)
                        for (exit in logits.indices) {
                            chain.run(exit)
                            chain.logits(exit, logits[exit])
                            cascade.rule.decide(exit, logits, probabilities)
                        }
                    }
                    assertTrue(handedOn < 1, "$name ${variant.name}: $handedOn bytes a frame")
                    val predicted = bytesPerFrame { cascade.predict(image) }
                    assertTrue(predicted < ANSWER, "$name ${variant.name}: $predicted bytes an answer")
                }
            }
        }
    }

    private companion object {
        const val FRAMES = 2000

        /** An answer of ten classes and three segments. */
        const val ANSWER = 256
    }
}
