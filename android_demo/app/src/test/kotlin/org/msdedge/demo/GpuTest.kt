package org.msdedge.demo

import android.view.View
import android.widget.Switch
import android.widget.TextView
import java.nio.ByteBuffer
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.msdedge.cascade.Model as LoadedModel
import org.msdedge.cascade.RunOptions
import org.msdedge.cascade.Runtime
import org.msdedge.cascade.Runtimes
import org.msdedge.cascade.SegmentRunner
import org.msdedge.runners.TfliteRuntime
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** The processor in the place of a GPU, which a JVM has not: what it computes is right, or wrong here and there. */
private class PlayedGpu(private val wrong: Boolean, private val real: Runtime = TfliteRuntime()) : Runtime by real {
    override val hasGpu = true

    override fun load(model: ByteArray, options: RunOptions): LoadedModel {
        val loaded = real.load(model, options.copy(gpu = false))
        if (!options.gpu || !wrong) return loaded
        return object : LoadedModel by loaded {
            override fun runner(signature: String?) = WrongRunner(loaded.runner(signature))
        }
    }
}

private class WrongRunner(private val real: SegmentRunner) : SegmentRunner by real {
    private lateinit var logits: ByteBuffer

    override fun bind(inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) {
        logits = outputs.getValue("logits")
        real.bind(inputs, outputs)
    }

    override fun run() {
        real.run()
        logits.put(0, (logits.get(0).toInt() xor 64).toByte())
    }
}

@RunWith(RobolectricTestRunner::class)
@Config(qualifiers = "w400dp-h800dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class GpuTest {
    private fun open(wrong: Boolean): MainActivity {
        val activity = Screens.open().get()
        val render = activity.session.listener
        activity.session.close()
        activity.session = Session(RuntimeEnvironment.getApplication(), Runtimes(PlayedGpu(wrong)))
        activity.session.listener = render
        activity.session.refresh()
        Screens.settle(activity)
        return activity
    }

    private fun switch(activity: MainActivity): Switch {
        activity.view<Switch>(R.id.gpu).performClick()
        Screens.settle(activity)
        return activity.view(R.id.gpu)
    }

    @Test
    fun `the GPU is off until it is switched on, and at the next start again`() {
        val activity = open(wrong = false)
        assertEquals(View.VISIBLE, activity.view<Switch>(R.id.gpu).visibility)
        assertFalse(activity.view<Switch>(R.id.gpu).isChecked)
        assertFalse(activity.session.screen.choice.gpu)
        assertTrue(switch(activity).isChecked)
        assertNull(activity.session.screen.message)
        assertNotNull(activity.session.screen.answer)
        Screens.shoot(activity, "gpu")
        assertFalse(Preferences.read(activity).gpu)
    }

    @Test
    fun `a GPU that computes something else than the golden samples is not used`() {
        val activity = open(wrong = true)
        switch(activity)
        val message = activity.view<TextView>(R.id.message).text.toString()
        assertTrue("tflite-int8 by litert" in message && "on the GPU does not compute what it computed at export" in message, message)
        assertNull(activity.session.screen.answer)
        Screens.shoot(activity, "gpu-refused")
        assertFalse(switch(activity).isChecked)
        assertNull(activity.session.screen.message)
        assertNotNull(activity.session.screen.answer)
    }
}
