package org.msdedge.cascade.bench

import java.io.BufferedOutputStream
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.security.MessageDigest
import org.msdedge.cascade.Bundle
import org.msdedge.cascade.BundleError
import org.msdedge.cascade.Cascade
import org.msdedge.cascade.CascadeError
import org.msdedge.cascade.Chain
import org.msdedge.cascade.ConfigError
import org.msdedge.cascade.ExitRule
import org.msdedge.cascade.FolderFiles
import org.msdedge.cascade.Golden
import org.msdedge.cascade.GoldenComparison
import org.msdedge.cascade.ImageError
import org.msdedge.cascade.Json
import org.msdedge.cascade.RawImage
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.copyRaw
import org.msdedge.cascade.directBuffer
import org.msdedge.cascade.hex
import org.msdedge.cascade.sha256

/** One measurement of one variant, as docs/device-protocol.md describes it; meant for a process of its own. */
class Bench(private val host: BenchHost, private val configPath: String, private val nonce: String) {
    private lateinit var config: BenchConfig
    private lateinit var cancel: File
    private val times = Times()
    private val opened = ArrayList<AutoCloseable>()
    private var said = 0L

    /**
     * Measures and writes `result.json` and what lies beside it.
     *
     * @return the SHA-256 of `result.json`.
     * @throws BenchFailure there is no result.
     */
    fun run(): String = try {
        measure()
    } catch (problem: BenchFailure) {
        throw problem
    } catch (problem: ImageError) {
        throw BenchFailure("DeviceRunError", problem.message!!)
    } catch (problem: CascadeError) {
        throw BenchFailure(problem.javaClass.simpleName, problem.message!!)
    } catch (problem: IOException) {
        throw BenchFailure("DeviceRunError", "a file of the measurement cannot be read or written: ${problem.message}.")
    } catch (problem: OutOfMemoryError) {
        throw BenchFailure("DeviceRunError", "the app ran out of memory: ${problem.message}; take fewer images or a smaller network.")
    } catch (problem: RuntimeException) {
        throw BenchFailure("DeviceRunError", "the runtime failed: ${problem.javaClass.simpleName}: ${oneLine(problem)}.")
    } finally {
        opened.asReversed().forEach { it.close() }
    }

    private fun measure(): String {
        val file = inside(host.files, configPath)
        if (!file.isFile) throw BenchFailure("ConfigError", "$configPath: there is no such configuration.")
        config = BenchConfig.parse(file.readBytes())
        if (config.nonce != nonce) throw ConfigError("the nonce of the command line is not the one of the configuration.")
        val result = inside(host.files, config.result)
        val folder = result.parentFile ?: throw ConfigError("${config.result}: the result needs a folder.")
        cancel = File(folder, "cancel")
        step(0, 0, "loading", now = true)

        val bundle = Bundle.open(FolderFiles(inside(host.files, config.bundle)))
        if (bundle.manifestSha256 != config.manifestSha256) {
            throw BundleError("${config.bundle}: this bundle is not the one that is to be measured; run the command again.")
        }
        val images = TestImages(host.files, config.images, bundle.manifest.input, config.block)
        val variant = bundle.variant(config.variant)
        val calibration = Cascade.calibrationOf(bundle, variant)
        val golden = Golden.read(bundle, variant)
        val chainLoad = load(bundle, golden.images)
        val chain = chainLoad.chain

        step(0, images.count, "proving", now = true)
        val goldenFile = HashedFile(File(folder, "golden.bin"))
        val proof = goldenFile.use { golden.compare(chain) { bytes -> it.write(bytes) } }
        proof.require(chain, config.goldenSteps, config.goldenRangeShare)

        val cascade = Cascade(chain, ExitRule.forced(chain.size - 1, calibration.temperatures))
        val points = config.points.map { name ->
            val point = calibration.points.firstOrNull { it.name == name }
                ?: throw ConfigError("${variant.name} has no operating point $name, it has ${calibration.points.joinToString { it.name }}.")
            CascadeContender("point-$name", true, cascade, ExitRule.of(calibration, point), times, images.count)
        }
        val forced = List(chain.size) {
            CascadeContender("exit-${it + 1}", false, cascade, ExitRule.forced(it, calibration.temperatures), times, images.count)
        }
        val alone = variant.exits.map { exit -> AloneContender(bundle, chain, exit, times, golden.images[0]).also { opened.add(it) } }
        val segments = List(chain.size) { SegmentContender(chain, it, chainLoad.inputs, times) }
        val paced = config.paced?.contenders?.map { find(points + forced, it) }
        val sustained = config.sustain?.let { find(points + forced, it.contender) }

        val contenders = points + forced + alone + segments
        for (contender in contenders) {
            for (image in images.read(0, minOf(config.warmup, config.images[0].count))) {
                step(0, images.count, "warming up")
                contender.warm(image)
            }
        }
        val logitsFile = HashedFile(File(folder, "logits.bin"))
        val turns = logitsFile.use { out ->
            Turns(
                contenders, images, config.block, config.seconds, host::processorMs,
                { _, piece -> piece.forEach { writeLogits(chain, it, out) } },
                { done -> step(done, images.count, "measuring") },
            ).take()
        }
        val pacing = Pacing(images, config.block, ::step)
        val pacedResults = paced?.map { pacing.pace(it, config.paced!!) }.orEmpty()
        val sustainedResult = sustained?.let { pacing.sustain(it, config.sustain!!, host::thermal) }

        val value = report(chainLoad, alone, proof, goldenFile.sha256, logitsFile.sha256, images.count, points, turns)
        value["paced"] = pacedResults
        value["sustain"] = sustainedResult
        value["complete"] = true
        return writeWhole(result, Json.write(value).toByteArray())
    }

    private class LoadedChain(
        val chain: Chain,
        val inputs: SegmentInputs,
        val load: Double,
        val first: DoubleArray,
        val peakMib: Double,
        val threads: Int?,
        val version: String,
    )

    private fun load(bundle: Bundle, samples: List<RawImage>): LoadedChain {
        val variant = bundle.variant(config.variant)
        val threads = RuntimeThreads()
        val start = System.nanoTime()
        val version = host.runtimes.of(variant.target, config.runtime).version
        val library = (System.nanoTime() - start) / 1e6
        val memory = PeakMemory()
        val options = RunOptions(config.threads, config.gpu)
        val chain = Chain.load(bundle, variant, host.runtimes, options, config.runtime)
        opened.add(chain)
        val inputs = SegmentInputs(chain)
        val first = DoubleArray(chain.size)
        for ((number, image) in samples.take(INPUTS).withIndex()) {
            chain.enter(image)
            for (segment in first.indices) {
                inputs.keep(segment)
                val before = System.nanoTime()
                chain.run(segment)
                if (number == 0) first[segment] = (System.nanoTime() - before) / 1e6
            }
        }
        val grown = memory.growthMib()
        // What a GPU's driver starts says nothing of the threads that were asked for.
        val started = if (config.gpu) null else threads.count { startSegment(chain, samples[0]) }
        return LoadedChain(chain, inputs, library + chain.initMs.sum(), first, grown, started, version)
    }

    /** The first segment once more, having run once: with all the threads that one session has. */
    private fun startSegment(chain: Chain, image: RawImage): AutoCloseable {
        val segment = chain.variant.segments[0]
        val model = chain.runtime.load(chain.bundle.read(segment.file), chain.options)
        val runner = model.runner()
        chain.enter(image)
        val taken = (listOf(segment.logits) + segment.features).associate { it.name to directBuffer(it.bytes) }
        runner.bind(mapOf(segment.inputs[0].name to chain.entry), taken)
        runner.run()
        return AutoCloseable {
            runner.close()
            model.close()
        }
    }

    private fun find(among: List<CascadeContender>, name: String): CascadeContender = among.firstOrNull { it.name == name }
        ?: throw ConfigError("there is no contender $name, there are ${among.joinToString { it.name }}.")

    private fun writeLogits(chain: Chain, image: RawImage, out: HashedFile) {
        chain.enter(image)
        for (exit in 0 until chain.size) {
            chain.run(exit)
            val spec = chain.variant.segments[exit].logits
            val row = ByteArray(spec.bytes)
            copyRaw(chain.rawLogits[exit], spec.dtype, row)
            out.write(row)
        }
    }

    private fun report(
        loaded: LoadedChain,
        alone: List<AloneContender>,
        proof: GoldenComparison,
        goldenSha256: String,
        logitsSha256: String,
        images: Int,
        points: List<CascadeContender>,
        turns: List<Turn>,
    ): LinkedHashMap<String, Any?> = linkedMapOf(
        "protocol" to BenchConfig.PROTOCOL,
        "nonce" to nonce,
        "manifest_sha256" to loaded.chain.bundle.manifestSha256,
        "variant" to config.variant,
        "played_by" to host.playedBy,
        "app" to linkedMapOf(
            "package" to host.packageName,
            "version_name" to host.versionName,
            "version_code" to host.versionCode,
        ),
        "runtime" to linkedMapOf(
            "name" to loaded.chain.runtime.name,
            "version" to loaded.version,
            "delegate" to if (config.gpu) "gpu" else "cpu",
            "xnnpack" to (loaded.chain.runtime.name == "litert"),
        ),
        "threads" to config.threads,
        "runtime_threads" to loaded.threads,
        "load" to loaded.load,
        "peak_memory_mib" to loaded.peakMib,
        "segments" to List(loaded.chain.size) { started(loaded.chain.initMs[it], loaded.first[it]) },
        "alone" to alone.map { started(it.initMs, it.firstMs) },
        "golden" to linkedMapOf(
            "images" to proof.images,
            "max_difference" to proof.maxDifference,
            "top1_agreement" to proof.top1Agreement,
            "bit_equal" to proof.bitEqual,
            "sha256" to goldenSha256,
        ),
        "logits" to linkedMapOf(
            "images" to images,
            "dtype" to loaded.chain.variant.segments[0].logits.dtype.text,
            "sha256" to logitsSha256,
        ),
        "answers" to points.associate {
            it.name.removePrefix("point-") to
                linkedMapOf("exits" to it.exits, "predicted" to it.predicted, "probabilities" to it.probabilities)
        },
        "times" to times.toMap(),
        "turns" to turns.map { listOf(it.contender, it.block, it.images, it.milliseconds, it.wall, it.processor) },
    )

    private fun started(init: Double, first: Double) = linkedMapOf("init" to init, "first" to first)

    /** Tells progress when it is time to, and stops where the host asked for it. */
    private fun step(done: Int, total: Int, text: String, now: Boolean = false) {
        if (cancel.exists()) throw BenchFailure("Interrupted", "the measurement was stopped from outside.")
        val time = System.nanoTime()
        if (!now && time - said < STEP_NANOS) return
        said = time
        host.step(Json.write(linkedMapOf("done" to done, "total" to total, "text" to text)))
    }

    private companion object {
        const val INPUTS = 8
        const val STEP_NANOS = 1_000_000_000L
    }
}

/** A file that is hashed while it is written. */
private class HashedFile(file: File) : AutoCloseable {
    private val digest = MessageDigest.getInstance("SHA-256")
    private val out = BufferedOutputStream(FileOutputStream(file), 1 shl 16)

    /** Valid once closed. */
    val sha256: String by lazy { hex(digest.digest()) }

    fun write(bytes: ByteArray) {
        digest.update(bytes)
        out.write(bytes)
    }

    override fun close() = out.close()
}

/** Writes a file whole or not at all, returns its SHA-256. */
private fun writeWhole(file: File, bytes: ByteArray): String {
    val partial = File(file.path + ".partial")
    FileOutputStream(partial).use {
        it.write(bytes)
        it.fd.sync()
    }
    if (!partial.renameTo(file)) throw IOException("cannot rename $partial")
    return sha256(bytes)
}

private fun oneLine(problem: Throwable) = (problem.message ?: "no reason given").trim().split(Regex("\\s+")).joinToString(" ").trimEnd('.')
