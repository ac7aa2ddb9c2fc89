package org.msdedge.demo

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Bitmap
import android.graphics.Color
import android.net.Uri
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.Switch
import android.widget.TextView
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertNotEquals
import kotlin.test.assertNotNull
import kotlin.test.assertSame
import kotlin.test.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

@RunWith(RobolectricTestRunner::class)
@Config(qualifiers = "w400dp-h800dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class MainActivityTest {
    private val files: File get() = RuntimeEnvironment.getApplication().filesDir

    private fun deploy(name: String, from: String = name): File {
        val folder = File(files, "bundles/$name")
        File(Screens.fixtures, "bundles/$from").copyRecursively(folder, overwrite = true)
        return folder
    }

    private fun text(activity: Activity, id: Int) = activity.view<TextView>(id).text.toString()

    private fun click(activity: MainActivity, id: Int) {
        activity.view<Button>(id).performClick()
        Screens.settle(activity)
    }

    private fun select(activity: MainActivity, id: Int, item: String) {
        val spinner = activity.view<Spinner>(id)
        val place = (0 until spinner.count).first { spinner.getItemAtPosition(it) == item }
        spinner.onItemSelectedListener!!.onItemSelected(spinner, spinner, place, place.toLong())
        Screens.settle(activity)
    }

    private fun slide(activity: MainActivity, place: Int) {
        val slider = activity.view<SeekBar>(R.id.point)
        shadowOf(slider).onSeekBarChangeListener.onProgressChanged(slider, place, true)
        Screens.settle(activity)
    }

    @Test
    fun `the bundle in the assets answers at once`() {
        val activity = Screens.open().get()
        val screen = activity.session.screen
        assertEquals(null, screen.message)
        assertEquals("digits", activity.view<Spinner>(R.id.bundle).selectedItem)
        assertEquals("tflite-int8", activity.view<Spinner>(R.id.variant).selectedItem)
        val answer = assertNotNull(screen.answer)
        assertTrue(text(activity, R.id.answer).startsWith(answer.label))
        assertTrue(text(activity, R.id.exit).startsWith("Exit ${answer.exit} of 3 answered"))
        assertEquals(3, activity.view<BarsView>(R.id.classes).bars.size)
        assertEquals(listOf(1), screen.shares.filter { it > 0 })
        Screens.shoot(activity, "first-sight", whole = false)
        // The slider and what it changes are seen together, without scrolling.
        for (id in listOf(R.id.picture, R.id.point, R.id.cost)) {
            val view = activity.view<View>(id)
            val top = IntArray(2).also { view.getLocationInWindow(it) }[1]
            assertTrue(top + view.height <= activity.window.decorView.height, activity.resources.getResourceEntryName(id))
        }
        Screens.shoot(activity, "sample")
    }

    @Test
    fun `the bar shows what was spared`() {
        val activity = Screens.open().get()
        slide(activity, 0)
        repeat(8) { click(activity, R.id.sample) }
        val early = generateSequence { click(activity, R.id.sample) }.take(20).map { activity.session.screen }.first { it.answer!!.exit == 1 }
        val bars = activity.view<BarsView>(R.id.cost).bars
        assertEquals(listOf(false, true, true), bars.map { it.hollow }, "exit ${early.answer!!.exit}")
        assertEquals(0f, bars[0].start)
        assertEquals(bars[0].end, bars[1].start)
        assertEquals(1f, bars[2].end, 1e-6f)
        assertTrue("spared" in bars[1].value)
        Screens.shoot(activity, "early-exit")
        click(activity, R.id.clear)
        assertEquals(0, activity.session.screen.shares.sum())
    }

    @Test
    fun `the slider goes from fast to accurate and the choice is kept`() {
        val controller = Screens.open()
        val activity = controller.get()
        val points = activity.session.screen.points
        assertEquals(points.map { it.expectedMs }.sorted(), points.map { it.expectedMs })
        slide(activity, 0)
        assertEquals(points[0].name, activity.session.screen.choice.point)
        assertTrue(text(activity, R.id.point_label).startsWith(points[0].name))
        slide(activity, points.size - 1)
        assertTrue(text(activity, R.id.point_label).startsWith(points.last().name))
        controller.pause().stop().destroy()
        val again = Screens.open().get()
        assertEquals(points.last().name, again.session.screen.points[again.session.screen.point].name)
    }

    @Test
    fun `deployed bundles stand beside the app's and hide one of the same name`() {
        deploy("colour")
        deploy("digits", from = "digits-entropy")
        File(files, "bundles/.incoming-1").mkdirs()
        File(files, "bundles/empty").mkdirs()
        val activity = Screens.open().get()
        assertEquals(listOf("colour", "digits"), activity.session.screen.bundles)
        select(activity, R.id.bundle, "digits")
        assertTrue("onnx-int8" in activity.session.screen.variants, "the deployed one has ONNX files, the one in the assets has not")
        select(activity, R.id.variant, "onnx-int8")
        assertEquals(null, activity.session.screen.message)
        assertEquals("onnx-int8", activity.session.screen.choice.variant)
        assertNotNull(activity.session.screen.answer)
        Screens.shoot(activity, "deployed-onnx")
    }

    @Test
    fun `a bundle deployed while the app is away is there when it comes back`() {
        val controller = Screens.open()
        controller.pause()
        deploy("scales")
        controller.resume()
        Screens.settle(controller.get())
        assertEquals(listOf("digits", "scales"), controller.get().session.screen.bundles)
        select(controller.get(), R.id.bundle, "scales")
        assertNotNull(controller.get().session.screen.answer)
    }

    @Test
    fun `threads can be chosen`() {
        val activity = Screens.open().get()
        val spinner = activity.view<Spinner>(R.id.threads)
        val last = spinner.getItemAtPosition(spinner.count - 1) as String
        select(activity, R.id.threads, last)
        assertEquals(last.substringBefore(' ').toInt(), activity.session.screen.choice.threads)
        assertEquals(null, activity.session.screen.message)
    }

    @Test
    fun `without a GPU library the switch is not offered, and asking for it is told in a sentence`() {
        val activity = Screens.open().get()
        assertEquals(View.GONE, activity.view<Switch>(R.id.gpu).visibility)
        activity.session.choose(activity.session.screen.choice.copy(gpu = true))
        Screens.settle(activity)
        assertEquals("the GPU delegate is not part of this app; switch the GPU off.", text(activity, R.id.message))
        assertEquals(View.VISIBLE, activity.view<Switch>(R.id.gpu).visibility)
    }

    @Test
    fun `turning the phone keeps what was loaded`() {
        val controller = Screens.open()
        val session = controller.get().session
        click(controller.get(), R.id.sample)
        val answer = session.screen.answer
        RuntimeEnvironment.setQualifiers("+w800dp-h400dp-land")
        controller.recreate()
        Screens.settle(controller.get())
        assertSame(session, controller.get().session)
        assertSame(answer, controller.get().session.screen.answer)
        assertNotNull(controller.get().view<ImageView>(R.id.picture).drawable)
        Screens.shoot(controller.get(), "landscape")
    }

    @Test
    fun `a picture of the gallery is classified`() {
        val activity = Screens.open().get()
        click(activity, R.id.gallery)
        assertEquals("image/*", shadowOf(activity).nextStartedActivityForResult.intent.type)
        val picture = Bitmap.createBitmap(300, 200, Bitmap.Config.ARGB_8888)
        for (x in 0 until 300) for (y in 0 until 200) picture.setPixel(x, y, Color.rgb(x % 256, y, if ((x / 30 + y / 30) % 2 == 0) 255 else 40))
        val png = ByteArrayOutputStream().also { picture.compress(Bitmap.CompressFormat.PNG, 100, it) }.toByteArray()
        pick(activity, png)
        assertEquals(null, activity.session.screen.message)
        assertEquals(Source.GALLERY, activity.session.screen.source)
        assertEquals(300, activity.session.screen.picture!!.width)
        assertEquals("The picture you have chosen", activity.view<ImageView>(R.id.picture).contentDescription)
        Screens.shoot(activity, "gallery")
    }

    @Test
    fun `what is no picture is told in a sentence`() {
        val activity = Screens.open().get()
        pick(activity, "no picture".toByteArray())
        assertEquals("This picture cannot be read; take another one.", text(activity, R.id.message))
    }

    @Test
    fun `a gallery that was left without choosing changes nothing`() {
        val activity = Screens.open().get()
        val before = activity.session.screen
        click(activity, R.id.gallery)
        shadowOf(activity).receiveResult(shadowOf(activity).nextStartedActivityForResult.intent, Activity.RESULT_CANCELED, null)
        Screens.settle(activity)
        assertSame(before.answer, activity.session.screen.answer)
    }

    @Test
    fun `the camera asks for its permission, and says so when it is refused`() {
        val activity = Screens.open().get()
        click(activity, R.id.camera)
        assertEquals(listOf(Manifest.permission.CAMERA), shadowOf(activity).lastRequestedPermission.requestedPermissions.toList())
        activity.onRequestPermissionsResult(MainActivity.CAMERA, arrayOf(Manifest.permission.CAMERA), intArrayOf(PackageManager.PERMISSION_DENIED))
        Screens.settle(activity)
        assertTrue("Without the permission" in text(activity, R.id.message))
        Screens.shoot(activity, "camera-refused")
    }

    @Test
    fun `a phone without a camera is told so`() {
        shadowOf(RuntimeEnvironment.getApplication()).grantPermissions(Manifest.permission.CAMERA)
        val activity = Screens.open().get()
        click(activity, R.id.camera)
        Screens.settle(activity)
        assertEquals("This phone has no camera.", text(activity, R.id.message))
        assertEquals("Camera", text(activity, R.id.camera))
    }

    @Test
    fun `frames of the camera are classified and shown`() {
        val activity = Screens.open().get()
        val yuv = Yuv(
            64,
            48,
            listOf(
                Yuv.Plane(ByteArray(64 * 48) { (it % 64 * 4).toByte() }, 64, 1),
                Yuv.Plane(ByteArray(32 * 24) { 90 }, 32, 1),
                Yuv.Plane(ByteArray(32 * 24) { 160.toByte() }, 32, 1),
            ),
        )
        activity.session.offerFrame { yuv.toRgb(90) }
        Screens.settle(activity)
        assertEquals(Source.CAMERA, activity.session.screen.source)
        assertEquals(48, activity.session.screen.picture!!.width)
        assertEquals("What the camera sees", activity.view<ImageView>(R.id.picture).contentDescription)
        Screens.shoot(activity, "camera")
    }

    @Test
    @Config(qualifiers = "w400dp-h800dp-night-xhdpi")
    fun `dark mode`() {
        val activity = Screens.open().get()
        val shot = Screens.shoot(activity, "dark")
        val corner = shot.getPixel(2, shot.height - 2)
        assertTrue(Color.luminance(corner) < 0.1f, "the background is dark")
        assertTrue(Color.luminance(activity.getColor(R.color.text)) > 0.6f)
    }

    @Test
    @Config(qualifiers = "w320dp-h480dp-mdpi")
    fun `a small screen with large type`() {
        RuntimeEnvironment.setFontScale(1.8f)
        val activity = Screens.open().get()
        Screens.shoot(activity, "small-large-type")
        for (view in Screens.views(activity.window.decorView)) {
            if (view is Button && view.visibility == View.VISIBLE && view.layout != null) {
                assertEquals(1, view.layout.lineCount, "${view.text} is broken")
                assertEquals(0, view.layout.getEllipsisCount(0), "${view.text} is cut")
                assertTrue(view.layout.height <= view.height, "${view.text} does not fit its button")
            }
        }
    }

    @Test
    @Config(qualifiers = "w1000dp-h700dp-land-mdpi")
    fun `a tablet`() {
        val activity = Screens.open().get()
        Screens.shoot(activity, "tablet")
        val picture = IntArray(2).also { activity.view<View>(R.id.picture).getLocationInWindow(it) }
        val answer = IntArray(2).also { activity.view<View>(R.id.answer).getLocationInWindow(it) }
        assertTrue(answer[0] > picture[0] + 200, "the answer stands beside the picture")
    }

    @Test
    fun `a screen reader finds words for everything that is shown or can be touched`() {
        val activity = Screens.open().get()
        for (view in Screens.views(activity.view(R.id.picture)) + Screens.views(requireNotNull(activity.findViewById(android.R.id.content)))) {
            val shown = view is BarsView || view is ImageView || view is SeekBar || view is Spinner
            if (shown && view.isShown) assertTrue(!view.contentDescription.isNullOrBlank(), "${view.javaClass.simpleName} has no words")
            if (view is Button) assertTrue(view.text.isNotBlank())
        }
        assertTrue("Segment 1: " in activity.view<BarsView>(R.id.cost).contentDescription)
        assertTrue("Now " in activity.view<SeekBar>(R.id.point).contentDescription)
        for (id in listOf(R.id.sample, R.id.gallery, R.id.camera, R.id.point, R.id.bundle, R.id.variant, R.id.threads)) {
            val view = activity.view<View>(id)
            assertTrue(view.height >= 48 * activity.resources.displayMetrics.density - 1, "${activity.resources.getResourceEntryName(id)} is too low to be hit")
        }
    }

    @Test
    fun `errors of a bundle are a sentence on the screen, and another bundle can be chosen`() {
        val breakages = mapOf<String, Pair<(File) -> Unit, String>>(
            "version" to ({ f: File -> edit(f) { it.replaceFirst("\"schema_version\": 1", "\"schema_version\": 2") } } to "needs a newer app"),
            "json" to ({ f: File -> edit(f) { it.take(500) } } to "no valid JSON"),
            "missing" to ({ f: File -> check(File(f, "tflite-int8/segment-2.tflite").delete()) } to "it is not there"),
            "hash" to ({ f: File -> File(f, "tflite-int8/segment-1.tflite").run { writeBytes(readBytes().also { it[100] = 1 }) } } to "SHA-256 differs"),
            "seam" to ({ f: File -> edit(f, ::breakSeam) } to "seam 1→2: zero point"),
            "shape" to ({ f: File -> edit(f) { it.replaceFirst("\"height\": 8", "\"height\": 9") } } to "the manifest says"),
            "dtype" to ({ f: File -> edit(f, ::renameTensor) } to "the file has no output"),
            "climbs" to ({ f: File -> edit(f) { it.replaceFirst("tflite-int8/segment-1", "../segment-1") } } to "no relative path inside the bundle"),
        )
        for ((name, breakage) in breakages) breakage.first(deploy("broken-$name", from = "colour"))
        val activity = Screens.open().get()
        for ((name, breakage) in breakages) {
            select(activity, R.id.bundle, "broken-$name")
            val message = text(activity, R.id.message)
            assertTrue(breakage.second in message && message.endsWith("."), "$name: $message")
            assertEquals(View.VISIBLE, activity.view<View>(R.id.message).visibility)
            assertEquals(View.GONE, activity.view<View>(R.id.result).visibility)
            assertEquals("broken-$name", activity.view<Spinner>(R.id.bundle).selectedItem)
        }
        select(activity, R.id.bundle, "broken-hash")
        Screens.shoot(activity, "error")
        select(activity, R.id.bundle, "digits")
        assertEquals(null, activity.session.screen.message)
        assertNotNull(activity.session.screen.answer)
    }

    private fun edit(folder: File, change: (String) -> String) {
        val manifest = File(folder, "manifest.json")
        val before = manifest.readText()
        val after = change(before)
        assertNotEquals(before, after)
        manifest.writeText(after)
    }

    // In tflite-int8's second segment the first zero point is that of what it takes.
    private fun breakSeam(text: String): String {
        val at = text.indexOf("tflite-int8/segment-2.tflite")
        val place = text.indexOf("\"zero_point\": ", at)
        return text.substring(0, place) + "\"zero_point\": 7" + text.substring(text.indexOf('\n', place))
    }

    private fun renameTensor(text: String): String {
        val at = text.indexOf("tflite-int8/segment-1.tflite")
        val place = text.indexOf("\"name\": \"logits\"", at)
        return text.substring(0, place) + "\"name\": \"scores\"" + text.substring(place + "\"name\": \"logits\"".length)
    }

    private fun pick(activity: MainActivity, content: ByteArray) {
        val uri = Uri.parse("content://pictures/1")
        shadowOf(activity.contentResolver).registerInputStreamSupplier(uri) { ByteArrayInputStream(content) }
        activity.view<Button>(R.id.gallery).performClick()
        val asked = shadowOf(activity).nextStartedActivityForResult.intent
        shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(uri))
        Screens.settle(activity)
    }
}
