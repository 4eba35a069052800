"""Watermarks as a service knows them: files, engines, investigations, reports. The mathematics is `detectors.watermark`."""
