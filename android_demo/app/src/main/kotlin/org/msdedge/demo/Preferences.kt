package org.msdedge.demo

import android.content.Context

/** Keeps the user's choice from one start to the next; the GPU is off at every start. */
internal object Preferences {
    fun read(context: Context): Choice {
        val kept = of(context)
        return Choice(
            kept.getString("bundle", null),
            kept.getString("variant", null),
            kept.getString("point", null),
            kept.getInt("threads", 1),
        )
    }

    fun write(context: Context, choice: Choice) = of(context).edit()
        .putString("bundle", choice.bundle)
        .putString("variant", choice.variant)
        .putString("point", choice.point)
        .putInt("threads", choice.threads)
        .apply()

    private fun of(context: Context) = context.getSharedPreferences("choice", Context.MODE_PRIVATE)
}
