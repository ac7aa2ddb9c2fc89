package org.msdedge.demo

import android.Manifest
import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.drawable.BitmapDrawable
import android.os.Bundle
import android.view.Surface
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.view.WindowManager
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.SeekBar
import android.widget.TextView
import org.msdedge.cascade.CascadeError
import org.msdedge.runners.presentRuntimes

/** The one screen: a picture, the answer and its cost, and what can be chosen. */
class MainActivity : Activity() {
    internal lateinit var session: Session
    private var camera: CameraFeed? = null
    private var live = false
    private val bars by lazy { ResultBars(this) }
    private val chooser by lazy { Chooser(this) }

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        setContentView(R.layout.main)
        @Suppress("DEPRECATION") // what replaces it is AndroidX
        val kept = lastNonConfigurationInstance as Session?
        session = kept ?: Session(this, presentRuntimes(), Preferences.read(this))
        live = saved?.getBoolean(LIVE) ?: false
        // Words are not broken: with large type on a narrow screen the buttons stand one below the other.
        if (resources.configuration.run { screenWidthDp < NARROW * fontScale }) stackButtons()
        view<Button>(R.id.sample).setOnClickListener {
            stopCamera()
            session.nextSample()
        }
        view<Button>(R.id.gallery).setOnClickListener {
            stopCamera()
            pickPicture()
        }
        view<Button>(R.id.camera).setOnClickListener { if (live) stopCamera() else askForCamera() }
        view<Button>(R.id.clear).setOnClickListener { session.clearShares() }
        view<SeekBar>(R.id.point).setOnSeekBarChangeListener(PointListener())
        chooser.listen { choose(it) }
        session.listener = ::render
    }

    override fun onResume() {
        super.onResume()
        session.refresh()
        if (live) startCamera()
    }

    override fun onPause() {
        camera?.close()
        camera = null
        super.onPause()
    }

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        out.putBoolean(LIVE, live)
    }

    @Deprecated("what replaces it is AndroidX")
    override fun onRetainNonConfigurationInstance(): Any = session

    override fun onDestroy() {
        session.listener = null
        if (!isChangingConfigurations) session.close()
        super.onDestroy()
    }

    @Deprecated("what replaces it is AndroidX")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val uri = data?.data
        if (request != PICK || result != RESULT_OK || uri == null) return
        try {
            session.show(Pictures.read(this, uri))
        } catch (problem: CascadeError) {
            session.tell(problem.message!!)
        }
    }

    override fun onRequestPermissionsResult(request: Int, permissions: Array<String>, results: IntArray) {
        if (request != CAMERA) return
        if (results.firstOrNull() == PackageManager.PERMISSION_GRANTED) startCamera()
        else session.tell(getString(R.string.camera_refused))
    }

    private fun stackButtons() {
        val row = view<LinearLayout>(R.id.buttons)
        row.orientation = LinearLayout.VERTICAL
        for (place in 0 until row.childCount) {
            row.getChildAt(place).layoutParams = LinearLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT)
        }
    }

    private fun choose(choice: Choice) {
        Preferences.write(this, choice)
        session.choose(choice)
    }

    private fun pickPicture() {
        val wanted = Intent(Intent.ACTION_GET_CONTENT).setType("image/*").addCategory(Intent.CATEGORY_OPENABLE)
        try {
            @Suppress("DEPRECATION") // what replaces it is AndroidX
            startActivityForResult(wanted, PICK)
        } catch (_: ActivityNotFoundException) {
            session.tell(getString(R.string.no_gallery))
        }
    }

    private fun askForCamera() {
        if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) startCamera()
        else requestPermissions(arrayOf(Manifest.permission.CAMERA), CAMERA)
    }

    private fun startCamera() {
        live = true
        camera?.close()
        camera = CameraFeed(this, ::rotation, session::offerFrame) { problem ->
            runOnUiThread {
                stopCamera()
                session.tell(problem)
            }
        }.also { it.start() }
        showLive()
    }

    private fun stopCamera() {
        live = false
        camera?.close()
        camera = null
        showLive()
    }

    private fun showLive() {
        view<Button>(R.id.camera).setText(if (live) R.string.stop else R.string.camera)
        if (live) window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        else window.clearFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
    }

    private fun rotation(): Int {
        @Suppress("DEPRECATION") // Context.getDisplay is of API 30
        return when (windowManager.defaultDisplay.rotation) {
            Surface.ROTATION_90 -> 90
            Surface.ROTATION_180 -> 180
            Surface.ROTATION_270 -> 270
            else -> 0
        }
    }

    private fun render(screen: Screen) {
        view<TextView>(R.id.title).text = screen.title.ifEmpty { getString(R.string.app_name) }
        show(R.id.message, screen.message)
        show(R.id.loading, if (screen.loading) getString(R.string.loading) else null)
        view<View>(R.id.result).visibility = if (screen.answer == null) View.GONE else View.VISIBLE
        view<View>(R.id.points).visibility = if (screen.points.isEmpty()) View.GONE else View.VISIBLE
        view<Button>(R.id.sample).isEnabled = screen.points.isNotEmpty()
        view<Button>(R.id.gallery).isEnabled = screen.points.isNotEmpty()
        view<Button>(R.id.camera).isEnabled = screen.points.isNotEmpty()
        renderPicture(screen)
        renderPoints(screen)
        bars.render(screen)
        chooser.render(screen)
    }

    private fun renderPicture(screen: Screen) {
        val picture = view<ImageView>(R.id.picture)
        val bitmap = screen.picture
        picture.visibility = if (bitmap == null) View.GONE else View.VISIBLE
        // Small pictures show their pixels as they are.
        picture.setImageDrawable(bitmap?.let { BitmapDrawable(resources, it).apply { isFilterBitmap = it.width > SMALL } })
        picture.contentDescription = getString(
            when (screen.source) {
                Source.SAMPLE -> R.string.picture_sample
                Source.GALLERY -> R.string.picture_gallery
                Source.CAMERA -> R.string.picture_camera
            },
        )
    }

    private fun renderPoints(screen: Screen) {
        val slider = view<SeekBar>(R.id.point)
        val point = screen.points.getOrNull(screen.point) ?: return
        slider.max = screen.points.size - 1
        slider.progress = screen.point
        val promise = getString(R.string.promise, point.name, percent(point.accuracy), ms(point.expectedMs))
        view<TextView>(R.id.point_label).text = promise
        slider.contentDescription = getString(R.string.slider, promise)
    }

    private fun show(id: Int, text: String?) {
        val view = view<TextView>(id)
        view.text = text
        view.visibility = if (text == null) View.GONE else View.VISIBLE
    }

    private inner class PointListener : SeekBar.OnSeekBarChangeListener {
        override fun onProgressChanged(bar: SeekBar, progress: Int, fromUser: Boolean) {
            val point = session.screen.points.getOrNull(progress)
            if (fromUser && point != null) choose(session.screen.choice.copy(point = point.name))
        }

        override fun onStartTrackingTouch(bar: SeekBar) = Unit

        override fun onStopTrackingTouch(bar: SeekBar) = Unit
    }

    internal companion object {
        const val PICK = 1
        const val CAMERA = 2
        private const val SMALL = 128
        private const val NARROW = 260
        private const val LIVE = "live"
    }
}

/** A view by its id: nullable in the framework itself, not in the SDK's stubs; this compiles against both. */
internal fun <T : View> Activity.view(id: Int): T = requireNotNull(findViewById<T>(id))
