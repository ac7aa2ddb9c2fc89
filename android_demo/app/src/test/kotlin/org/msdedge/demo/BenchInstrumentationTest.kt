package org.msdedge.demo

import android.app.Activity
import android.app.Instrumentation
import android.content.Context
import android.os.Bundle
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.msdedge.cascade.Json
import org.msdedge.cascade.sha256
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment

@RunWith(RobolectricTestRunner::class)
class BenchInstrumentationTest {
    private val nonce = "0123456789abcdef0123456789abcdef"
    private val files: File get() = RuntimeEnvironment.getApplication().filesDir

    private fun instrumentation(nonce: String): BenchInstrumentation {
        val made = BenchInstrumentation()
        val context = Instrumentation::class.java.getDeclaredField("mAppContext").apply { isAccessible = true }
        context.set(made, RuntimeEnvironment.getApplication() as Context)
        val arguments = BenchInstrumentation::class.java.getDeclaredField("arguments").apply { isAccessible = true }
        arguments.set(made, Bundle().apply { putString("config", "bench/$nonce/config.json"); putString("nonce", nonce) })
        return made
    }

    private fun prepare() {
        val folder = File(files, "bench/$nonce").apply { mkdirs() }
        File(Screens.fixtures, "bundles/colour").copyRecursively(File(folder, "bundle"))
        val images = File(Screens.fixtures, "expected/colour.u8").readBytes().copyOf(32 * 8 * 12 * 3)
        File(folder, "images-0001.u8").writeBytes(images)
        val config = linkedMapOf(
            "protocol" to 1, "nonce" to nonce, "bundle" to "bench/$nonce/bundle",
            "manifest_sha256" to sha256(File(folder, "bundle/manifest.json").readBytes()), "variant" to "tflite-int8", "runtime" to null,
            "delegate" to "cpu", "threads" to 1,
            "images" to listOf(linkedMapOf("path" to "bench/$nonce/images-0001.u8", "sha256" to sha256(images), "count" to 32)),
            "points" to listOf("fast"), "golden" to linkedMapOf("steps" to 4, "range_share" to 0.001), "warmup" to 2, "block" to 16,
            "seconds" to 0.05, "paced" to null, "sustain" to null, "result" to "bench/$nonce/result.json",
        )
        File(folder, "config.json").writeText(Json.write(config))
    }

    @Test
    fun `a measurement ends with the nonce, the hash of its result and the mark of its end`() {
        prepare()
        val result = Bundle()
        assertEquals(Activity.RESULT_OK, instrumentation(nonce).measure(result))
        val written = File(files, "bench/$nonce/result.json").readBytes()
        assertEquals(nonce, result.getString("nonce"))
        assertEquals(sha256(written), result.getString("sha256"))
        assertEquals("msd-edge-complete", result.getString("end"))
        val value = Json.parse(written) as Map<*, *>
        assertEquals(true, value["complete"])
        assertNull(value["played_by"])
        assertEquals("org.msdedge.demo", (value["app"] as Map<*, *>)["package"])
    }

    @Test
    fun `a failure is named and told`() {
        val result = Bundle()
        assertEquals(Activity.RESULT_CANCELED, instrumentation(nonce).measure(result))
        assertEquals("ConfigError", result.getString("error"))
        assertTrue(result.getString("message")!!.endsWith("."))
        assertNull(result.getString("end"))
    }

    @Test
    fun `the screen that stands before a measurement opens`() {
        Robolectric.buildActivity(BenchActivity::class.java).setup().pause().stop().destroy()
    }
}
