package org.msdedge.standin

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.BeforeTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import org.msdedge.cascade.Json
import org.msdedge.cascade.sha256

/** A whole measurement by the protocol of docs/device-protocol.md, on bundles that the Python side exported. */
class StandInTest {
    private val fixtures = File(checkNotNull(System.getProperty("msdedge.fixtures")))
    private val nonce = "00112233445566778899aabbccddeeff"
    private val files = Files.createTempDirectory("files").toFile()
    private val folder = File(files, "bench/$nonce")
    private lateinit var config: MutableMap<String, Any?>

    @BeforeTest
    fun prepare() {
        folder.mkdirs()
        File(fixtures, "bundles/digits").copyRecursively(File(folder, "bundle"))
        val all = File(fixtures, "expected/digits.u8").readBytes()
        val images = listOf(16 to 0, 9 to 16).mapIndexed { i, (count, start) ->
            val bytes = all.copyOfRange(start * SIZE, (start + count) * SIZE)
            File(folder, "images-000${i + 1}.u8").writeBytes(bytes)
            linkedMapOf("path" to "bench/$nonce/images-000${i + 1}.u8", "sha256" to sha256(bytes), "count" to count)
        }
        config = linkedMapOf(
            "protocol" to 1,
            "nonce" to nonce,
            "bundle" to "bench/$nonce/bundle",
            "manifest_sha256" to sha256(File(folder, "bundle/manifest.json").readBytes()),
            "variant" to "tflite-int8",
            "runtime" to null,
            "delegate" to "cpu",
            "threads" to 1,
            "images" to images,
            "points" to listOf("lossless", "fast"),
            "golden" to linkedMapOf("steps" to 4, "range_share" to 0.001),
            "warmup" to 3,
            "block" to 8,
            "seconds" to 0.2,
            "paced" to linkedMapOf("fps" to 100.0, "seconds" to 0.3, "contenders" to listOf("point-fast", "exit-3")),
            "sustain" to linkedMapOf("minutes" to 0.005, "contender" to "point-lossless"),
            "result" to "bench/$nonce/result.json",
        )
    }

    @AfterTest
    fun remove() {
        files.deleteRecursively()
    }

    private fun play(asked: String = nonce): List<String> {
        File(folder, "config.json").writeText(Json.write(config))
        val out = ByteArrayOutputStream()
        play(files, "bench/$nonce/config.json", asked, PrintStream(out))
        return out.toString().trim().lines()
    }

    private fun failure(lines: List<String>, error: String): String {
        assertEquals("INSTRUMENTATION_CODE: 0", lines.last())
        assertTrue("INSTRUMENTATION_RESULT: error=$error" in lines, lines.takeLast(4).toString())
        assertFalse(lines.any { "end=" in it })
        assertFalse(File(folder, "result.json").exists())
        val message = lines.first { it.startsWith("INSTRUMENTATION_RESULT: message=") }.substringAfter("message=")
        assertTrue(message.endsWith("."), message)
        return message
    }

    @Test
    fun `everything that was asked for is measured`() {
        for (variant in listOf("tflite-int8", "onnx-int8", "tflite-float32")) {
            config["variant"] = variant
            val lines = play()
            assertEquals("INSTRUMENTATION_CODE: -1", lines.last())
            assertEquals("INSTRUMENTATION_STATUS: step={\"done\":0,\"total\":0,\"text\":\"loading\"}", lines[0])
            assertTrue(lines.any { "proving" in it } && lines.any { "paced" in it } && lines.any { "sustained" in it })
            val written = File(folder, "result.json").readBytes()
            assertTrue("INSTRUMENTATION_RESULT: sha256=${sha256(written)}" in lines)
            assertTrue("INSTRUMENTATION_RESULT: nonce=$nonce" in lines)
            assertTrue("INSTRUMENTATION_RESULT: end=msd-edge-complete" in lines)
            checkResult(Json.parse(written) as Map<*, *>, variant)
            assertFalse(File(folder, "result.json.partial").exists())
            File(folder, "result.json").delete()
        }
    }

    private fun checkResult(value: Map<*, *>, variant: String) {
        assertEquals("complete", value.keys.last())
        assertEquals("the app's classes on a JVM", value["played_by"])
        val logits = File(folder, "logits.bin").readBytes()
        val width = if (variant.endsWith("float32")) 4 else 1
        assertEquals(IMAGES * 3 * 10 * width, logits.size)
        assertEquals(sha256(logits), (value["logits"] as Map<*, *>)["sha256"])
        val golden = File(folder, "golden.bin").readBytes()
        assertEquals(sha256(golden), (value["golden"] as Map<*, *>)["sha256"])
        assertEquals(true, (value["golden"] as Map<*, *>)["bit_equal"])
        if (width == 1) checkLogits(logits, variant)
        val answers = value["answers"] as Map<*, *>
        assertEquals(setOf<Any?>("lossless", "fast"), answers.keys)
        for ((point, said) in answers) checkAnswers(variant, point as String, said as Map<*, *>)
        checkTimes(value["times"] as Map<*, *>, value["turns"] as List<*>)
        assertEquals(1L, value["runtime_threads"])
        assertEquals(3, (value["segments"] as List<*>).size)
        assertEquals(3, (value["alone"] as List<*>).size)
        val paced = (value["paced"] as List<*>).map { it as Map<*, *> }
        assertEquals(listOf<Any?>("point-fast", "exit-3"), paced.map { it["contender"] })
        for (run in paced) assertEquals(30L, (run["times"] as List<*>).size + run["missed"] as Long)
        val minutes = (value["sustain"] as Map<*, *>)["minutes"] as List<*>
        assertEquals(1, minutes.size)
        assertTrue(((minutes[0] as Map<*, *>)["times"] as List<*>).isNotEmpty())
    }

    /** The logits are those that Python gives for the same images. */
    private fun checkLogits(found: ByteArray, variant: String) {
        val raw = (expected(variant)["raw"] as List<*>).take(IMAGES).flatMap { image -> (image as List<*>).flatMap { it as List<*> } }
        assertEquals(raw.map { (it as Long).toByte() }, found.toList())
    }

    private fun checkAnswers(variant: String, point: String, said: Map<*, *>) {
        val wanted = (expected(variant)["points"] as Map<*, *>)[point] as Map<*, *>
        val exits = said["exits"] as List<*>
        assertEquals(IMAGES, exits.size)
        val differing = exits.indices.count { exits[it] != (wanted["exits"] as List<*>)[it] }
        assertTrue(differing <= 1, "$differing exits differ: more than a score on the edge explains")
        assertEquals(IMAGES, (said["predicted"] as List<*>).size)
        assertTrue((said["probabilities"] as List<*>).all { (it as Double) in 0.0..1.0 })
    }

    private fun checkTimes(times: Map<*, *>, turns: List<*>) {
        val parts = listOf("preprocess", "inference", "decision", "total")
        val names = (listOf("point-lossless", "point-fast") + (1..3).map { "exit-$it" }).flatMap { name -> parts.map { "$name/$it" } } +
            (1..3).flatMap { listOf("exit-$it/alone", "exit-$it/alone-total", "segment-$it/warm") }
        assertEquals(names.toSet(), times.keys)
        for (name in names) {
            val list = times[name] as List<*>
            val contender = parts.firstOrNull { name.endsWith("/$it") }?.let { name.removeSuffix("/$it") } ?: name.removeSuffix("-total")
            val taken = turns.map { it as List<*> }.filter { it[0] == contender }
            assertEquals(taken.sumOf { it[2] as Long }, list.size.toLong(), name)
            if (name.startsWith("point-")) assertTrue(list.size >= IMAGES, name)
            assertTrue(list.all { (it as Double) >= 0 })
        }
        // The order rotates from block to block.
        val first = turns.map { it as List<*> }.groupBy { it[1] }.values.take(2).map { it[0][0] }
        assertTrue(first[0] != first[1])
    }

    private fun expected(variant: String): Map<*, *> {
        val all = Json.parse(File(fixtures, "expected/digits.json").readBytes()) as Map<*, *>
        return (all["variants"] as Map<*, *>)[variant] as Map<*, *>
    }

    @Test
    fun `the threads that one session has are counted`() {
        config["threads"] = 2
        config["paced"] = null
        config["sustain"] = null
        for (variant in listOf("tflite-int8", "onnx-int8")) {
            config["variant"] = variant
            assertEquals("INSTRUMENTATION_CODE: -1", play().last())
            val value = Json.parse(File(folder, "result.json").readBytes()) as Map<*, *>
            assertEquals(2L, value["runtime_threads"], variant)
            assertTrue(value["peak_memory_mib"] as Double >= 0)
        }
    }

    @Test
    fun `another nonce is refused`() {
        assertTrue("nonce" in failure(play(nonce.reversed()), "ConfigError"))
    }

    @Test
    fun `a changed bundle is refused before anything runs`() {
        File(folder, "bundle/tflite-int8/segment-2.tflite").run { writeBytes(readBytes().also { it[50] = (it[50] + 1).toByte() }) }
        assertTrue("SHA-256 differs" in failure(play(), "BundleError"))
        config["manifest_sha256"] = "0".repeat(64)
        assertTrue("not the one that is to be measured" in failure(play(), "BundleError"))
    }

    @Test
    fun `changed test images are refused`() {
        File(folder, "images-0002.u8").appendBytes(byteArrayOf(1))
        assertTrue("images-0002" in failure(play(), "DeviceRunError"))
        File(folder, "images-0002.u8").delete()
        failure(play(), "DeviceRunError")
    }

    @Test
    fun `files that compute something else end before any time is taken`() {
        config["golden"] = linkedMapOf("steps" to 4, "range_share" to 0.0)
        val bundle = File(folder, "bundle")
        val manifest = File(bundle, "manifest.json")
        val golden = File(bundle, "golden/tflite-int8.int8")
        val before = sha256(golden.readBytes())
        golden.writeBytes(golden.readBytes().also { bytes -> bytes.indices.forEach { bytes[it] = (bytes[it] / 2 + 20).toByte() } })
        manifest.writeText(manifest.readText().replace(before, sha256(golden.readBytes())))
        config["manifest_sha256"] = sha256(manifest.readBytes())
        assertTrue("does not compute" in failure(play(), "ParityError"))
    }

    @Test
    fun `settings that make no sense are named`() {
        for ((key, value) in listOf("points" to listOf("nowhere"), "variant" to "tflite-int4", "runtime" to "onnxruntime", "threads" to 0)) {
            val right = config[key]
            config[key] = value
            failure(play(), if (key == "variant") "BundleError" else "ConfigError")
            config[key] = right
        }
        config["extra"] = 1
        assertTrue("extra" in failure(play(), "ConfigError"))
        config.remove("extra")
        config["result"] = "../result.json"
        failure(play(), "ConfigError")
        config["result"] = "bench/$nonce/result.json"
        config["delegate"] = "gpu"
        failure(play(), "RuntimeUnavailable")
    }

    @Test
    fun `a cancel file stops it`() {
        File(folder, "cancel").createNewFile()
        failure(play(), "Interrupted")
        File(folder, "cancel").delete()
        config["seconds"] = 600.0
        val worker = Thread {
            Thread.sleep(1500)
            File(folder, "cancel").createNewFile()
        }
        worker.start()
        failure(play(), "Interrupted")
        worker.join()
    }

    private companion object {
        const val SIZE = 256
        const val IMAGES = 25
    }
}
