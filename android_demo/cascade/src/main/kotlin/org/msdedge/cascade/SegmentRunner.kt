package org.msdedge.cascade

import java.nio.ByteBuffer

/** What a file itself says of a tensor; scale and zero point are null where its format does not tell. */
class TensorInfo(val shape: List<Int>, val dtype: DType?, val scale: Float? = null, val zeroPoint: Int? = null)

/**
 * One segment of the chain in a runtime. Tensors are bound by name once; then [run] moves no object: it reads the bound
 * inputs and fills the bound outputs. Not for use by several threads at once.
 */
interface SegmentRunner : AutoCloseable {
    val inputs: Map<String, TensorInfo>
    val outputs: Map<String, TensorInfo>

    /** Binds every input and output to a direct buffer of native order; the buffers stay bound until the runner closes. */
    fun bind(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>)

    /** Invokes once. */
    fun run()
}

/** A loaded file. Its runners end with it. */
interface Model : AutoCloseable {
    /** Returns the runner of one signature; null: of the only one. */
    fun runner(signature: String? = null): SegmentRunner
}

/** How files are to be run. [gpu] is refused where the runtime has no such delegate. */
data class RunOptions(val threads: Int = 1, val gpu: Boolean = false)

/** Loads files of one target. */
interface Runtime {
    val target: Target

    /** `litert` or `onnxruntime`, as `msd-edge` names them. */
    val name: String

    /** The version of the library; loads it. @throws RuntimeUnavailable it is not part of this app. */
    val version: String

    /** Whether the GPU delegate is part of this app and this device supports it. */
    val hasGpu: Boolean

    /**
     * Loads a file's content.
     *
     * @throws RuntimeUnavailable the library is not part of this app or cannot run the file with these options.
     */
    fun load(model: ByteArray, options: RunOptions): Model
}

/** The runtimes that an app has. */
class Runtimes(private val all: List<Runtime>) {
    constructor(vararg all: Runtime) : this(all.toList())

    /**
     * Returns the runtime for files of [target].
     *
     * @param name which one; null: the one there is.
     * @throws RuntimeUnavailable this app has none.
     * @throws ConfigError it has none of that name.
     */
    fun of(target: Target, name: String? = null): Runtime {
        val fitting = all.filter { it.target == target }
        if (fitting.isEmpty()) throw RuntimeUnavailable("this app has no runtime for ${target.text} files; take another variant.")
        return fitting.firstOrNull { name == null || it.name == name }
            ?: throw ConfigError("this app runs ${target.text} files by ${fitting.joinToString { it.name }}, not by $name.")
    }
}
