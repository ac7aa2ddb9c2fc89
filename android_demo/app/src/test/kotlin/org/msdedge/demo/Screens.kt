package org.msdedge.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import java.io.File
import java.util.concurrent.TimeUnit
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController

/** Drives the real activity with the real runtimes. */
internal object Screens {
    val fixtures = File(checkNotNull(System.getProperty("msdedge.fixtures")))

    fun open(): ActivityController<MainActivity> {
        val controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        settle(controller.get())
        return controller
    }

    /** Waits until the worker is idle and the main thread has shown all of it. */
    fun settle(activity: MainActivity) {
        repeat(3) {
            shadowOf(Looper.getMainLooper()).idle()
            if (!activity.session.worker.isShutdown) activity.session.worker.submit {}.get(60, TimeUnit.SECONDS)
            shadowOf(Looper.getMainLooper()).idle()
        }
    }

    /** Draws what the user sees into `target/screenshots/NAME.png`; [whole]: all that can be scrolled to. */
    fun shoot(activity: MainActivity, name: String, whole: Boolean = true): Bitmap {
        val window = activity.window.decorView
        if (whole) {
            val content = requireNotNull(activity.findViewById<ViewGroup>(android.R.id.content)).getChildAt(0) as ViewGroup
            val height = maxOf(window.height, content.getChildAt(0).measuredHeight + content.paddingTop + content.paddingBottom)
            window.measure(
                View.MeasureSpec.makeMeasureSpec(window.width, View.MeasureSpec.EXACTLY),
                View.MeasureSpec.makeMeasureSpec(height, View.MeasureSpec.EXACTLY),
            )
            window.layout(0, 0, window.width, height)
        }
        val bitmap = Bitmap.createBitmap(window.width, window.height, Bitmap.Config.ARGB_8888)
        window.draw(Canvas(bitmap))
        val file = File("target/screenshots/$name.png")
        file.parentFile!!.mkdirs()
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
        return bitmap
    }

    /** All views below [root], itself included. */
    fun views(root: View): List<View> =
        if (root is ViewGroup) listOf(root) + (0 until root.childCount).flatMap { views(root.getChildAt(it)) } else listOf(root)
}
