package org.msdedge.demo

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.params.OutputConfiguration
import android.hardware.camera2.params.SessionConfiguration
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import org.msdedge.cascade.RawImage

/**
 * Frames of the back camera (any other where there is none), the newest one whenever the receiver asks for it. What is
 * classified is what is shown: there is no preview beside it.
 *
 * @property rotation the display's rotation in degrees, asked for each frame.
 * @property onFrame given a function that makes the RGB image, on the camera's thread.
 * @property onProblem given a sentence, on the camera's thread.
 */
class CameraFeed(
    private val context: Context,
    private val rotation: () -> Int,
    private val onFrame: (() -> RawImage) -> Unit,
    private val onProblem: (String) -> Unit,
) : AutoCloseable {
    private val thread = HandlerThread("camera").apply { start() }
    private val handler = Handler(thread.looper)
    private val manager = context.getSystemService(CameraManager::class.java)
    private var device: CameraDevice? = null
    private var reader: ImageReader? = null
    private var closed = false

    /** Opens the camera; the permission has been given. */
    @SuppressLint("MissingPermission")
    fun start() = attempt {
        val id = choose()
        if (id == null) {
            onProblem(context.getString(R.string.no_camera))
            return@attempt
        }
        val traits = manager!!.getCameraCharacteristics(id)
        reader = newReader(traits)
        manager.openCamera(id, opened, handler)
    }

    override fun close() {
        closed = true
        handler.post {
            device?.close()
            reader?.close()
            thread.quitSafely()
        }
    }

    private fun choose(): String? {
        val ids = manager?.cameraIdList.orEmpty()
        return ids.firstOrNull { facing(it) == CameraCharacteristics.LENS_FACING_BACK } ?: ids.firstOrNull()
    }

    private fun facing(id: String) = manager!!.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING)

    private fun newReader(traits: CameraCharacteristics): ImageReader {
        val upright = traits.get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0
        val sign = if (traits.get(CameraCharacteristics.LENS_FACING) == CameraCharacteristics.LENS_FACING_FRONT) 1 else -1
        val made = ImageReader.newInstance(WIDTH, HEIGHT, ImageFormat.YUV_420_888, 2)
        made.setOnImageAvailableListener({ source ->
            val copy = source.acquireLatestImage()?.use { Pictures.copyYuv(it) }
            if (copy != null) onFrame { copy.toRgb(upright + sign * rotation()) }
        }, handler)
        return made
    }

    private val opened = object : CameraDevice.StateCallback() {
        override fun onOpened(camera: CameraDevice) {
            if (closed) return camera.close()
            device = camera
            attempt {
                val output = OutputConfiguration(reader!!.surface)
                camera.createCaptureSession(
                    SessionConfiguration(SessionConfiguration.SESSION_REGULAR, listOf(output), handler::post, configured),
                )
            }
        }

        override fun onDisconnected(camera: CameraDevice) {
            camera.close()
            onProblem(context.getString(R.string.camera_lost))
        }

        override fun onError(camera: CameraDevice, error: Int) {
            camera.close()
            onProblem(context.getString(R.string.camera_failed, error))
        }
    }

    private val configured = object : CameraCaptureSession.StateCallback() {
        override fun onConfigured(session: CameraCaptureSession) = attempt {
            val request = session.device.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
            request.addTarget(reader!!.surface)
            session.setRepeatingRequest(request.build(), null, handler)
        }

        override fun onConfigureFailed(session: CameraCaptureSession) = onProblem(context.getString(R.string.camera_lost))
    }

    private fun attempt(job: () -> Unit) {
        try {
            job()
        } catch (_: CameraAccessException) {
            onProblem(context.getString(R.string.camera_lost))
        } catch (_: IllegalStateException) { // closed meanwhile
            if (!closed) onProblem(context.getString(R.string.camera_lost))
        } catch (_: SecurityException) {
            onProblem(context.getString(R.string.camera_refused))
        }
    }

    private companion object {
        // Every camera gives this size.
        const val WIDTH = 640
        const val HEIGHT = 480
    }
}
