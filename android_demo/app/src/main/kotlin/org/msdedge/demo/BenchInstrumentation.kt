package org.msdedge.demo

import android.app.Activity
import android.app.Instrumentation
import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.os.PowerManager
import android.os.Process
import java.io.File
import org.msdedge.cascade.bench.Bench
import org.msdedge.cascade.bench.BenchFailure
import org.msdedge.cascade.bench.BenchHost
import org.msdedge.runners.presentRuntimes

/**
 * Measures one variant of a bundle, driven by `msd-edge bench --device` (docs/device-protocol.md):
 *
 *     am instrument -w -r -e config bench/N/config.json -e nonce N org.msdedge.demo/.BenchInstrumentation
 */
class BenchInstrumentation : Instrumentation() {
    private var arguments = Bundle()

    override fun onCreate(arguments: Bundle?) {
        super.onCreate(arguments)
        if (arguments != null) this.arguments = arguments
        start()
    }

    override fun onStart() {
        super.onStart()
        val screen = Intent(targetContext, BenchActivity::class.java).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK)
        startActivitySync(screen)
        val result = Bundle()
        finish(measure(result), result)
    }

    /** Fills [result] as the protocol says, returns the code that ends the instrumentation. */
    internal fun measure(result: Bundle): Int {
        val nonce = arguments.getString("nonce").orEmpty()
        result.putString("nonce", nonce)
        return try {
            val sha256 = Bench(AppHost(targetContext), arguments.getString("config").orEmpty(), nonce).run()
            result.putString("sha256", sha256)
            result.putString("end", "msd-edge-complete")
            Activity.RESULT_OK
        } catch (problem: BenchFailure) {
            result.putString("error", problem.error)
            result.putString("message", problem.message)
            Activity.RESULT_CANCELED
        }
    }

    private inner class AppHost(private val app: Context) : BenchHost {
        private val power = app.getSystemService(PowerManager::class.java)
        private val info = app.packageManager.getPackageInfo(app.packageName, 0)
        override val files: File = app.filesDir
        override val runtimes = presentRuntimes()
        override val playedBy: String? = null
        override val packageName: String = app.packageName
        override val versionName: String = info.versionName.orEmpty()
        override val versionCode: Long = info.longVersionCode

        override fun step(json: String) = sendStatus(1, Bundle().apply { putString("step", json) })

        override fun processorMs(): Long = Process.getElapsedCpuTime()

        override fun thermal(): Int? = if (Build.VERSION.SDK_INT >= 29) power?.currentThermalStatus else null
    }
}
