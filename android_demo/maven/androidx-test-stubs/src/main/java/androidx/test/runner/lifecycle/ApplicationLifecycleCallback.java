package androidx.test.runner.lifecycle;

public interface ApplicationLifecycleCallback {
    void onApplicationLifecycleChanged(android.app.Application a, ApplicationStage s);
}
