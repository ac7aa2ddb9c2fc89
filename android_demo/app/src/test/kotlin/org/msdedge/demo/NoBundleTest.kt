package org.msdedge.demo

import android.view.View
import android.widget.Button
import android.widget.TextView
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.msdedge.cascade.Runtimes
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@Config(qualifiers = "w400dp-h800dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class NoBundleTest {
    @Test
    fun `a variant that the app has no runtime for is a sentence, and leaves the list of variants`() {
        val application = RuntimeEnvironment.getApplication()
        File(Screens.fixtures, "bundles/digits").copyRecursively(File(application.filesDir, "bundles/digits"))
        val activity = Screens.open().get()
        activity.session.close()
        val session = Session(application, Runtimes())
        activity.session = session
        session.refresh()
        Screens.settle(activity)
        assertEquals("this app has no runtime for tflite files; take another variant.", session.screen.message)
        assertEquals(4, session.screen.variants.size)
        session.close()
    }

    @Test
    fun `an app without a bundle says how to bring one`() {
        val activity = Screens.open().get()
        val before = activity.session.screen.copy(points = emptyList(), answer = null, picture = null, title = "")
        activity.session.listener!!(before.copy(loading = true))
        Screens.shoot(activity, "loading", whole = false)
        val message = activity.getString(R.string.no_bundle)
        activity.session.listener!!(before.copy(bundles = emptyList(), variants = emptyList(), message = message))
        Screens.shoot(activity, "no-bundle", whole = false)
        assertTrue("msd-edge deploy" in activity.view<TextView>(R.id.message).text)
        assertEquals(View.GONE, activity.view<View>(R.id.points).visibility)
        assertEquals(false, activity.view<Button>(R.id.camera).isEnabled)
    }
}
