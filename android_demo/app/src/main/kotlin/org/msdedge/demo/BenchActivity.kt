package org.msdedge.demo

import android.app.Activity
import android.os.Bundle
import android.view.WindowManager

/** Stands in the foreground while a measurement runs, so that the figures are those of an app in use. */
class BenchActivity : Activity() {
    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        setContentView(R.layout.bench)
    }
}
